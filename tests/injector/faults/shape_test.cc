// SPDX-License-Identifier: Apache-2.0
#include "injector/faults/shape.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "bpf/fault.h"
#include "injector/host/net_rule.h"

namespace faultline {
namespace {

using ::testing::HasSubstr;

constexpr std::int64_t kLeast = 100 * kNsPerMs;

v1::FaultSpec Spec(v1::ShapeKind kind, std::int64_t ramp_ns, std::int64_t on_ns,
                   std::int64_t off_ns) {
  v1::FaultSpec spec;
  spec.set_type("net.loss");
  spec.set_duration_ns(10 * kNsPerSecond);
  spec.mutable_shape()->set_kind(kind);
  spec.mutable_shape()->set_ramp_ns(ramp_ns);
  spec.mutable_shape()->set_on_ns(on_ns);
  spec.mutable_shape()->set_off_ns(off_ns);
  return spec;
}

TEST(Shape, UnsetIsConstant) {
  const auto shape = ParseShape(v1::FaultSpec(), "", kLeast);
  ASSERT_TRUE(shape.ok());
  EXPECT_EQ(shape->Level(-1), 0);
  EXPECT_EQ(shape->Level(0), 1);
  EXPECT_EQ(shape->Level(kNsPerSecond), 1);
  EXPECT_EQ(shape->StepLevel(0), 1);
  EXPECT_EQ(shape->NextChange(0), Shape::kNever);
  EXPECT_EQ(shape->steps(), 0);
}

TEST(Shape, ARampIsLinear_AndThenFull) {
  const auto shape = ParseShape(Spec(v1::SHAPE_KIND_RAMP, 4 * kNsPerSecond, 0, 0), "ramp", kLeast);
  ASSERT_TRUE(shape.ok()) << shape.status();
  EXPECT_EQ(shape->Level(-1), 0);
  EXPECT_EQ(shape->Level(0), 0);
  EXPECT_DOUBLE_EQ(shape->Level(kNsPerSecond), 0.25);
  EXPECT_DOUBLE_EQ(shape->Level(3 * kNsPerSecond), 0.75);
  EXPECT_EQ(shape->Level(4 * kNsPerSecond), 1);
  EXPECT_EQ(shape->Level(9 * kNsPerSecond), 1);
}

// In steps: each step has what the ramp has in the middle of it.
TEST(Shape, StepsOfARamp_AreItsMiddles) {
  const Shape shape{.ramp_ns = 4 * kNsPerSecond};
  ASSERT_EQ(shape.steps(), 20);
  std::vector<double> seen;
  std::int64_t at = 0;
  for (; at != Shape::kNever; at = shape.NextChange(at)) {
    seen.push_back(shape.StepLevel(at));
    const std::int64_t next = shape.NextChange(at);
    if (next == Shape::kNever) break;
    EXPECT_EQ(next - at, 200 * kNsPerMs);
    EXPECT_DOUBLE_EQ(shape.StepLevel(next - 1), shape.StepLevel(at));
    EXPECT_DOUBLE_EQ(shape.StepLevel(at), shape.Level((at + next) / 2));
  }
  EXPECT_EQ(at, shape.ramp_ns);
  ASSERT_EQ(seen.size(), 21u);
  EXPECT_EQ(seen.back(), 1);
}

TEST(Shape, AShortRampHasFewerSteps) {
  EXPECT_EQ(Shape{.ramp_ns = 100 * kNsPerMs}.steps(), 1);
  EXPECT_EQ(Shape{.ramp_ns = 250 * kNsPerMs}.steps(), 2);
  EXPECT_EQ(Shape{.ramp_ns = 3600 * kNsPerSecond}.steps(), 20);
  // What does not divide evenly is all there at its end.
  const Shape shape{.ramp_ns = 250 * kNsPerMs + 1};
  EXPECT_EQ(shape.NextChange(shape.NextChange(0)), shape.ramp_ns);
  EXPECT_LT(shape.StepLevel(shape.ramp_ns - 1), 1);
  EXPECT_EQ(shape.StepLevel(shape.ramp_ns), 1);
}

// Sums of its times have to fit, and there is nothing to wait for after the longest fault.
TEST(Shape, TheTimeBetweenPulsesIsBounded) {
  constexpr std::int64_t kDay = 24 * 3600 * kNsPerSecond;
  EXPECT_TRUE(ParseShape(Spec(v1::SHAPE_KIND_PULSE, 0, kNsPerSecond, kDay), "pulse", kLeast).ok());
  for (const std::int64_t off_ns : {kDay + 1, INT64_MAX}) {
    const auto shape =
        ParseShape(Spec(v1::SHAPE_KIND_PULSE, 0, kNsPerSecond, off_ns), "pulse", kLeast);
    EXPECT_THAT(std::string(shape.status().message()), HasSubstr("it may be at most 24h"));
  }
}

TEST(Shape, APulseBeginsOn) {
  const auto shape = ParseShape(Spec(v1::SHAPE_KIND_PULSE, 0, 2 * kNsPerSecond, kNsPerSecond),
                                "ramp|pulse", kLeast);
  ASSERT_TRUE(shape.ok()) << shape.status();
  EXPECT_EQ(shape->Level(0), 1);
  EXPECT_EQ(shape->NextChange(0), 2 * kNsPerSecond);
  EXPECT_EQ(shape->Level(2 * kNsPerSecond - 1), 1);
  EXPECT_EQ(shape->Level(2 * kNsPerSecond), 0);
  EXPECT_EQ(shape->NextChange(2 * kNsPerSecond), 3 * kNsPerSecond);
  EXPECT_EQ(shape->StepLevel(3 * kNsPerSecond), 1);
  EXPECT_EQ(shape->NextChange(-5), 0);
}

TEST(Shape, RefusesWhatCannotBe) {
  struct Case {
    v1::FaultSpec spec;
    const char* takes;
    const char* says;
  };
  const std::vector<Case> cases{
      {Spec(v1::SHAPE_KIND_RAMP, kNsPerSecond, 0, 0), "", "leave the shape out"},
      {Spec(v1::SHAPE_KIND_RAMP, kNsPerSecond, 0, 0), "pulse",
       "it cannot be a ramp; its shape may be constant or pulse"},
      {Spec(v1::SHAPE_KIND_RAMP, 0, 0, 0), "ramp", "the time of the ramp is missing"},
      {Spec(v1::SHAPE_KIND_RAMP, -1, 0, 0), "ramp", "it must be at least 100ms"},
      {Spec(v1::SHAPE_KIND_RAMP, 99 * kNsPerMs, 0, 0), "ramp",
       "the time of the ramp is 99ms; it must be at least 100ms"},
      {Spec(v1::SHAPE_KIND_RAMP, 11 * kNsPerSecond, 0, 0), "ramp",
       "the ramp takes 11s, and the fault ends after 10s"},
      {Spec(v1::SHAPE_KIND_RAMP, kNsPerSecond, 1, 0), "ramp", "times of a pulse must be left out"},
      {Spec(v1::SHAPE_KIND_PULSE, 0, 0, kNsPerSecond), "pulse",
       "the time that a pulse is on is missing"},
      {Spec(v1::SHAPE_KIND_PULSE, 0, kNsPerSecond, 0), "pulse",
       "the time between pulses is missing"},
      {Spec(v1::SHAPE_KIND_PULSE, 0, kNsPerSecond, -5), "pulse", "the time between pulses is -5ns"},
      {Spec(v1::SHAPE_KIND_PULSE, 0, 11 * kNsPerSecond, kNsPerSecond), "pulse",
       "a pulse is on for 11s, and the fault ends after 10s"},
      {Spec(v1::SHAPE_KIND_PULSE, 1, kNsPerSecond, kNsPerSecond), "pulse",
       "the time of a ramp must be left out"},
      {Spec(v1::SHAPE_KIND_CONSTANT, 1, 0, 0), "ramp", "a constant shape has no times"},
      {Spec(static_cast<v1::ShapeKind>(99), 1, 0, 0), "ramp", "does not know the shape"},
  };
  for (const Case& each : cases) {
    const auto shape = ParseShape(each.spec, each.takes, kLeast);
    ASSERT_TRUE(absl::IsInvalidArgument(shape.status())) << each.says;
    EXPECT_THAT(std::string(shape.status().message()), HasSubstr(each.says));
    EXPECT_THAT(std::string(shape.status().message()), HasSubstr("net.loss"));
  }
}

// What the kernel programs compute in whole numbers is the same function.
TEST(Shape, TheProgramsHaveTheSameLevel) {
  std::mt19937_64 random(7);
  const auto up_to = [&random](std::int64_t most) {
    return std::uniform_int_distribution<std::int64_t>(1, most)(random);
  };
  constexpr std::int64_t kDayNs = std::int64_t{24} * 3600 * kNsPerSecond;
  for (int i = 0; i < 100'000; ++i) {
    // Of every order of magnitude, from ms to a week.
    const std::int64_t scale = std::int64_t{1'000'000} << up_to(29);
    Shape shape;
    if (i % 3 == 0) shape.ramp_ns = std::min(up_to(scale), 7 * kDayNs);
    if (i % 3 == 1) {
      shape.on_ns = up_to(scale);
      shape.off_ns = up_to(scale);
    }
    const std::int64_t start_ns = up_to(400 * kDayNs);
    const std::int64_t offset_ns = up_to(4 * scale) - scale / 8;
    fault_rule rule{};
    SetShape(shape, start_ns, &rule);
    const std::int64_t now_ns = std::max<std::int64_t>(0, start_ns + offset_ns);
    const auto level = static_cast<double>(fault_level(&rule, static_cast<std::uint64_t>(now_ns)));
    const bool constant = !shape.ramp() && !shape.pulse();
    // A constant one is attached when it begins, so the program needs no start.
    const double wanted = constant ? 1 : shape.Level(now_ns - start_ns);
    ASSERT_NEAR(level / FAULT_FULL, wanted, 1.0 / 65536)
        << shape.ramp_ns << " " << shape.on_ns << " " << shape.off_ns << " at " << offset_ns;
    ASSERT_LE(level, FAULT_FULL);
  }
}

}  // namespace
}  // namespace faultline
