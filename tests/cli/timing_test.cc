// SPDX-License-Identifier: Apache-2.0
#include "cli/timing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "base/clock.h"
#include "cli/exit_code.h"
#include "cli/fault_view.h"

namespace faultline::cli {
namespace {

using ::testing::HasSubstr;

TEST(ParseShape_RightText, ComesBackTheSame) {
  for (const char* text :
       {"constant", "ramp:30s", "ramp:1m30s", "pulse:5s/10s", "pulse:100ms/1h"}) {
    const absl::StatusOr<v1::Shape> shape = ParseShape(text);
    ASSERT_TRUE(shape.ok()) << shape.status();
    EXPECT_EQ(ShapeText(*shape), text);
  }
  EXPECT_EQ(ShapeText(v1::Shape()), "constant");
  EXPECT_EQ(ParseShape("pulse:5s/10s")->on_ns(), 5 * kNsPerSecond);
  EXPECT_EQ(ParseShape("pulse:5s/10s")->off_ns(), 10 * kNsPerSecond);
}

TEST(ParseShape_WrongText, IsRefusedWithARightOne) {
  for (const char* text :
       {"", "ramp", "ramp:", "ramp:5", "ramp:-5s", "ramp:0s", "pulse:5s", "pulse:5s/", "pulse:/5s",
        "pulse:5s/0s", "pulse:5s/5s/5s", "sine:5s", "constant:5s"}) {
    const absl::StatusOr<v1::Shape> shape = ParseShape(text);
    ASSERT_TRUE(absl::IsInvalidArgument(shape.status())) << text;
    EXPECT_THAT(std::string(shape.status().message()), HasSubstr("pulse:5s/10s")) << text;
  }
}

TEST(ParseStart_Table, IsADelayOrAnInstant) {
  v1::FaultSpec spec;
  ASSERT_TRUE(ParseStart("+10s", &spec).ok());
  EXPECT_EQ(spec.start_delay_ns(), 10 * kNsPerSecond);
  EXPECT_EQ(spec.start_realtime_ns(), 0);
  for (const char* text : {"2026-01-02T03:04:05Z", "2026-01-02T04:04:05+01:00"}) {
    v1::FaultSpec at;
    ASSERT_TRUE(ParseStart(text, &at).ok()) << text;
    EXPECT_EQ(at.start_realtime_ns(), 1'767'323'045 * kNsPerSecond) << text;
  }
  v1::FaultSpec at;
  ASSERT_TRUE(ParseStart("2026-01-02T03:04:05.25Z", &at).ok());
  EXPECT_EQ(at.start_realtime_ns(), 1'767'323'045 * kNsPerSecond + 250 * kNsPerMs);
}

TEST(ParseStart_WrongText, IsRefusedWithARightOne) {
  for (const char* text : {"", "10s", "+", "+0s", "+-5s", "-5s", "tomorrow", "2026-01-02",
                           "2026-01-02T03:04:05", "2026-13-02T03:04:05Z", "infinite-future",
                           "1960-01-02T03:04:05Z", "9999-01-02T03:04:05Z"}) {
    v1::FaultSpec spec;
    const absl::Status status = ParseStart(text, &spec);
    ASSERT_TRUE(absl::IsInvalidArgument(status)) << text;
    EXPECT_THAT(std::string(status.message()), HasSubstr("2026-01-02T03:04:05Z")) << text;
  }
}

v1::FaultState ToCome() {
  v1::FaultState fault;
  fault.mutable_spec()->set_id("id-1");
  fault.set_phase(v1::PHASE_ACCEPTED);
  fault.mutable_edges()->mutable_commanded()->set_boottime_ns(kNsPerSecond);
  fault.mutable_edges()->mutable_commanded()->set_realtime_ns(1'700'000'000 * kNsPerSecond);
  fault.set_start_boottime_ns(61 * kNsPerSecond);
  return fault;
}

TEST(FaultView_OfAFaultToCome, SaysWhenItBegins) {
  std::ostringstream sink;
  const Terminal terminal(sink, sink, {});
  EXPECT_THAT(FaultLine(terminal, ToCome()), HasSubstr("accepted, begins at 22:14:20.000"));
  FaultList faults;
  *faults.Add() = ToCome();
  EXPECT_THAT(FaultsTable(terminal, faults).Render(terminal), HasSubstr("at 22:14:20.000"));
}

TEST(Outcome_OfAFaultThatNeverBegan, IsTheUsersOwnAfterAnInterrupt) {
  v1::FaultState fault = ToCome();
  EXPECT_TRUE(Outcome(fault, false).ok());
  fault.set_phase(v1::PHASE_REFUSED);
  fault.set_reason("stopped before it began");
  EXPECT_EQ(ExitCodeOf(Outcome(fault, false)), 5);
  EXPECT_EQ(ExitCodeOf(Outcome(fault, true)), 130);
}

}  // namespace
}  // namespace faultline::cli
