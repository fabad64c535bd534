// SPDX-License-Identifier: Apache-2.0
//
// While the host takes its time for one fault, the deadlines of others are kept: a limit for which
// the kernel frees memory for seconds, a class whose queue does not drain.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"
#include "tests/injector/controller_fixture.h"

namespace faultline {
namespace {

using ::testing::HasSubstr;

constexpr char kLimit[] = "/db memory:memory.limit_in_bytes";
constexpr std::int64_t kBoundNs = 10 * kNsPerMs;

class SlowHost : public ::testing::Test {
 protected:
  // A fault whose deadline is 1 s from now.
  void StartOther() {
    v1::FaultSpec spec = ControllerWorld::Spec("cpu.limit", "other", "/web");
    spec.set_duration_ns(kNsPerSecond);
    ASSERT_TRUE(world_.controller->Start(spec).ok());
  }
  std::int64_t OvershootNs(const std::string& id) const {
    const v1::FaultState state = world_.Find(id);
    EXPECT_TRUE(state.phase() == v1::PHASE_UNDONE || state.phase() == v1::PHASE_FAILED)
        << state.ShortDebugString();
    return state.edges().undone().boottime_ns() - state.deadline_boottime_ns();
  }
  // Started, and then `answer_` has what the caller was told.
  void StartLimit(std::int64_t duration_ns) {
    v1::FaultSpec spec = ControllerWorld::Spec("mem.limit", "limit", "/db");
    spec.set_duration_ns(duration_ns);
    world_.controller->Start(spec, world_.clock.Now(), false,
                             [this](absl::StatusOr<v1::FaultState> answer) {
                               answer_ = std::move(answer);
                               answered_ = true;
                             });
  }

  ControllerWorld world_;
  const std::string before_ = world_.host.Digest();
  absl::StatusOr<v1::FaultState> answer_ = absl::UnknownError("not answered");
  bool answered_ = false;
};

TEST_F(SlowHost, ALimitThatTakesSeconds_LetsDeadlinesPass_AndIsAnsweredWhenInForce) {
  world_.host.reclaim_ns = 3 * kNsPerSecond;
  StartOther();
  StartLimit(10 * kNsPerSecond);
  EXPECT_FALSE(answered_);
  EXPECT_EQ(world_.Find("limit").phase(), v1::PHASE_JOURNALED);
  world_.Pass(2 * kNsPerSecond);
  EXPECT_LE(OvershootNs("other"), kBoundNs);
  EXPECT_FALSE(answered_);
  world_.Pass(2 * kNsPerSecond);
  ASSERT_TRUE(answered_);
  ASSERT_TRUE(answer_.ok()) << answer_.status();
  EXPECT_EQ(answer_->phase(), v1::PHASE_VERIFIED);
  EXPECT_GE(answer_->edges().acked().error_ns(), 3 * kNsPerSecond);
  EXPECT_EQ(world_.host.values[kLimit], "524288");
  world_.Pass(10 * kNsPerSecond);
  EXPECT_EQ(world_.Find("limit").phase(), v1::PHASE_UNDONE);
  EXPECT_LE(OvershootNs("limit"), kBoundNs);
  EXPECT_EQ(world_.host.Digest(), before_);
}

TEST_F(SlowHost, ALimitWhoseDeadlinePasses_BeforeItIsInForce_Failed_AndNothingComesAfter) {
  world_.host.reclaim_ns = 30 * kNsPerSecond;
  world_.host.leave_ns = 5 * kNsPerMs;
  StartLimit(2 * kNsPerSecond);
  world_.Pass(3 * kNsPerSecond);
  ASSERT_TRUE(answered_);
  EXPECT_TRUE(absl::IsFailedPrecondition(answer_.status())) << answer_.status();
  EXPECT_THAT(std::string(answer_.status().message()),
              HasSubstr("its deadline was over before it was in force"));
  EXPECT_EQ(world_.Find("limit").phase(), v1::PHASE_FAILED);
  EXPECT_LE(OvershootNs("limit"), kBoundNs);
  world_.Pass(60 * kNsPerSecond);
  EXPECT_EQ(world_.host.Digest(), before_);
}

TEST_F(SlowHost, AStartThatTakesTooLong_IsAnsweredWithWhatIsSo) {
  world_.host.reclaim_ns = 8 * kNsPerSecond;
  StartLimit(20 * kNsPerSecond);
  world_.Pass(6 * kNsPerSecond);
  ASSERT_TRUE(answered_);
  ASSERT_TRUE(answer_.ok());
  EXPECT_EQ(answer_->phase(), v1::PHASE_JOURNALED);
  world_.Pass(3 * kNsPerSecond);
  EXPECT_EQ(world_.Find("limit").phase(), v1::PHASE_VERIFIED);
}

TEST_F(SlowHost, AHalt_LeavesALimitThatIsUnderWay) {
  world_.host.reclaim_ns = 8 * kNsPerSecond;
  StartLimit(20 * kNsPerSecond);
  world_.Pass(kNsPerSecond);
  ASSERT_TRUE(world_.controller->Halt("enough").ok());
  world_.Pass(kBoundNs);
  EXPECT_EQ(world_.Find("limit").phase(), v1::PHASE_FAILED);
  EXPECT_THAT(world_.Find("limit").reason(), HasSubstr("before it was in force"));
  EXPECT_TRUE(answered_);
  EXPECT_EQ(world_.host.Digest(), before_);
}

TEST_F(SlowHost, ALimitThatSomebodyElseSetsMeanwhile_IsLeft_AndStaysTheirs) {
  world_.host.reclaim_ns = 3 * kNsPerSecond;
  StartLimit(20 * kNsPerSecond);
  world_.Pass(kNsPerSecond);
  world_.host.values[kLimit] = "777216";
  world_.Pass(5 * kNsPerSecond);
  ASSERT_TRUE(answered_);
  EXPECT_FALSE(answer_.ok());
  EXPECT_EQ(world_.host.values[kLimit], "777216");
}

// A step that is overtaken by the next is left for it.
TEST_F(SlowHost, ARamp_GoesOn_WhileItsStepsTakeTime) {
  world_.host.reclaim_ns = 700 * kNsPerMs;
  StartOther();
  v1::FaultSpec spec = ControllerWorld::Spec("mem.limit", "limit", "/db");
  spec.mutable_shape()->set_kind(v1::SHAPE_KIND_RAMP);
  spec.mutable_shape()->set_ramp_ns(2 * kNsPerSecond);
  ASSERT_TRUE(world_.controller->Start(spec).ok());
  world_.Pass(4 * kNsPerSecond);
  EXPECT_LE(OvershootNs("other"), kBoundNs);
  EXPECT_EQ(world_.host.values[kLimit], "524288");
  world_.Pass(10 * kNsPerSecond);
  EXPECT_LE(OvershootNs("limit"), kBoundNs);
  EXPECT_EQ(world_.host.Digest(), before_);
}

// A label says that each of its pulses was on.
TEST_F(SlowHost, APulseThatIsOverBeforeItIsInForce_Fails) {
  v1::FaultSpec spec = ControllerWorld::Spec("mem.limit", "limit", "/db");
  spec.mutable_shape()->set_kind(v1::SHAPE_KIND_PULSE);
  spec.mutable_shape()->set_on_ns(kNsPerSecond);
  spec.mutable_shape()->set_off_ns(kNsPerSecond);
  ASSERT_TRUE(world_.controller->Start(spec).ok());
  world_.Pass(1500 * kNsPerMs);
  world_.host.reclaim_ns = 3 * kNsPerSecond;
  world_.Pass(1400 * kNsPerMs);
  EXPECT_EQ(world_.Find("limit").phase(), v1::PHASE_VERIFIED);
  world_.Pass(200 * kNsPerMs);
  EXPECT_EQ(world_.Find("limit").phase(), v1::PHASE_FAILED);
  EXPECT_THAT(world_.Find("limit").reason(), HasSubstr("a pulse was over before"));
  EXPECT_EQ(world_.host.Digest(), before_);
}

TEST_F(SlowHost, AHalt_IsAnsweredWhenAllHasEnded_OrAfter5s) {
  for (const std::int64_t drains_ns : {kNsPerSecond, 10 * kNsPerSecond}) {
    SCOPED_TRACE(drains_ns);
    const std::string id = absl::StrCat("delay", drains_ns);
    ASSERT_TRUE(world_.controller
                    ->Start(ControllerWorld::Spec("cpu.limit", absl::StrCat("other", drains_ns)))
                    .ok());
    v1::FaultSpec spec = ControllerWorld::Spec("net.delay", id, "/db");
    (*spec.mutable_parameters())["delay"] = "20s";
    ASSERT_TRUE(world_.controller->Start(spec).ok());
    for (const auto& [handle, netem] : world_.host.netems) {
      world_.host.waits_until_ns[handle] = world_.clock.Now().boottime_ns + drains_ns;
    }
    absl::StatusOr<v1::HaltResponse> answer = absl::UnknownError("not answered");
    world_.controller->Halt(
        "enough", [&answer](absl::StatusOr<v1::HaltResponse> now) { answer = std::move(now); });
    world_.Pass(900 * kNsPerMs);
    EXPECT_EQ(answer.status().message(), "not answered");
    world_.Pass(200 * kNsPerMs);
    if (drains_ns > kNsPerSecond) {
      EXPECT_EQ(answer.status().message(), "not answered");
      world_.Pass(4 * kNsPerSecond);
    }
    ASSERT_TRUE(answer.ok()) << answer.status();
    ASSERT_EQ(answer->ended_size(), 2);
    for (const v1::FaultState& ended : answer->ended()) {
      const bool late = drains_ns > kNsPerSecond && ended.spec().id() == id;
      EXPECT_EQ(ended.phase(), late ? v1::PHASE_UNDOING : v1::PHASE_UNDONE);
    }
    world_.Pass(30 * kNsPerSecond);
    EXPECT_EQ(world_.host.Digest(), before_);
    ASSERT_TRUE(world_.controller->Release().ok());
  }
}

TEST_F(SlowHost, AClassThatDoesNotDrain_HasTwoSeconds_InWhichDeadlinesPass) {
  StartOther();
  ASSERT_TRUE(world_.controller->Start(ControllerWorld::Spec("net.rate", "rate", "/db")).ok());
  for (const auto& [handle, leaf] : world_.host.leaves) {
    world_.host.waits_until_ns[handle] = INT64_MAX;
  }
  world_.Pass(500 * kNsPerMs);
  const auto stopped = world_.controller->Stop("rate");
  ASSERT_TRUE(stopped.ok());
  EXPECT_EQ(stopped->phase(), v1::PHASE_UNDOING);
  // Nothing is steered into it any more.
  EXPECT_EQ(world_.host.Digest().find("program on"), std::string::npos);
  world_.Pass(kNsPerSecond);
  EXPECT_LE(OvershootNs("other"), kBoundNs);
  EXPECT_EQ(world_.Find("rate").phase(), v1::PHASE_UNDOING);
  EXPECT_EQ(world_.host.lost_packets, 0);
  world_.Pass(1100 * kNsPerMs);
  EXPECT_EQ(world_.Find("rate").phase(), v1::PHASE_UNDONE);
  EXPECT_EQ(world_.host.lost_packets, 3);
}

TEST_F(SlowHost, AClassThatDrains_LosesNothing) {
  ASSERT_TRUE(world_.controller->Start(ControllerWorld::Spec("net.rate", "rate", "/db")).ok());
  const std::int64_t drained_ns = world_.clock.Now().boottime_ns + 300 * kNsPerMs;
  for (const auto& [handle, leaf] : world_.host.leaves) {
    world_.host.waits_until_ns[handle] = drained_ns;
  }
  ASSERT_TRUE(world_.controller->Stop("rate").ok());
  world_.Pass(310 * kNsPerMs);
  EXPECT_EQ(world_.Find("rate").phase(), v1::PHASE_UNDONE);
  EXPECT_EQ(world_.host.lost_packets, 0);
  EXPECT_EQ(world_.host.Digest(), before_);
}

}  // namespace
}  // namespace faultline
