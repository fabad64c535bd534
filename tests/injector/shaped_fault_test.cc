// SPDX-License-Identifier: Apache-2.0
//
// Faults that follow a shape by the controller's hand, on the fake host.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/injector/controller_fixture.h"

namespace faultline {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

class ShapedFaultTest : public ::testing::Test {
 protected:
  ShapedFaultTest() : before_(world_.host.Digest()) {}

  static v1::FaultSpec Ramp(v1::FaultSpec spec, std::int64_t ramp_ns) {
    spec.mutable_shape()->set_kind(v1::SHAPE_KIND_RAMP);
    spec.mutable_shape()->set_ramp_ns(ramp_ns);
    return spec;
  }
  static v1::FaultSpec Pulse(v1::FaultSpec spec, std::int64_t on_ns, std::int64_t off_ns) {
    spec.mutable_shape()->set_kind(v1::SHAPE_KIND_PULSE);
    spec.mutable_shape()->set_on_ns(on_ns);
    spec.mutable_shape()->set_off_ns(off_ns);
    return spec;
  }
  Controller& controller() { return *world_.controller; }
  std::string& Quota() { return world_.host.values["/web cpu:cpu.cfs_quota_us"]; }
  std::string& Freezer() { return world_.host.values["/web freezer.state"]; }
  std::int64_t PausedNs() {
    const v1::FaultState state = world_.Find("a");
    return state.dose_size() == 0 ? -1 : state.dose(0).value();
  }

  ControllerWorld world_;
  const std::string before_;
};

TEST_F(ShapedFaultTest, ARampTightensTheCpuLimitStepByStep) {
  const auto started =
      controller().Start(Ramp(ControllerWorld::Spec("cpu.limit", "a"), 4 * kNsPerSecond));
  ASSERT_TRUE(started.ok()) << started.status();
  // From the host's 4 CPUs to 0.5, each step at the middle of its stretch.
  const v1::Change& quota = started->changes(2);
  ASSERT_EQ(quota.steps_size(), 20);
  EXPECT_EQ(quota.steps(0), "391000");
  EXPECT_EQ(quota.steps(19), "58000");
  EXPECT_EQ(quota.after(), "50000");
  EXPECT_EQ(Quota(), "391000");
  std::vector<std::string> seen{Quota()};
  for (int i = 0; i < 30; ++i) {
    world_.Pass(200 * kNsPerMs);
    if (Quota() != seen.back()) seen.push_back(Quota());
  }
  std::vector<std::string> wanted(quota.steps().begin(), quota.steps().end());
  wanted.push_back(quota.after());
  EXPECT_EQ(seen, wanted);
  world_.Pass(10 * kNsPerSecond);
  EXPECT_EQ(world_.Find("a").phase(), v1::PHASE_UNDONE);
  EXPECT_EQ(world_.Find("a").reason(), "");
  EXPECT_EQ(world_.host.Digest(), before_);
}

TEST_F(ShapedFaultTest, ARampBeginsAtTheTightestLimitAbove) {
  world_.host.values["/web cpu:cpu.cfs_quota_us"] = "200000";
  const auto plan = controller().Validate(
      Ramp(ControllerWorld::Spec("cpu.limit", "", "/web/worker"), 4 * kNsPerSecond));
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->changes(2).steps(0), "196000");
}

TEST_F(ShapedFaultTest, APulseTakesTheLimitAway_AndBringsItBack) {
  ASSERT_TRUE(
      controller()
          .Start(Pulse(ControllerWorld::Spec("cpu.limit", "a"), kNsPerSecond, 2 * kNsPerSecond))
          .ok());
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(Quota(), "50000") << round;
    world_.Pass(kNsPerSecond);
    EXPECT_EQ(Quota(), "-1") << round;
    EXPECT_EQ(world_.Find("a").phase(), v1::PHASE_VERIFIED);
    world_.Pass(2 * kNsPerSecond);
  }
  EXPECT_EQ(Quota(), "50000");
  world_.Pass(10 * kNsPerSecond);
  EXPECT_EQ(world_.Find("a").phase(), v1::PHASE_UNDONE) << world_.Find("a").reason();
  EXPECT_EQ(world_.host.Digest(), before_);
}

TEST_F(ShapedFaultTest, APulsedPauseCountsOnlyTheFrozenTime) {
  ASSERT_TRUE(
      controller()
          .Start(Pulse(ControllerWorld::Spec("process.pause", "a"), 300 * kNsPerMs, 700 * kNsPerMs))
          .ok());
  EXPECT_EQ(Freezer(), "FROZEN");
  world_.Pass(300 * kNsPerMs);
  EXPECT_EQ(Freezer(), "THAWED");
  world_.Pass(600 * kNsPerMs);
  EXPECT_EQ(PausedNs(), 300 * kNsPerMs);
  world_.Pass(100 * kNsPerMs);
  EXPECT_EQ(Freezer(), "FROZEN");
  world_.Pass(9'500 * kNsPerMs);
  const v1::FaultState state = world_.Find("a");
  EXPECT_EQ(state.phase(), v1::PHASE_UNDONE) << state.reason();
  EXPECT_TRUE(state.dose_complete());
  EXPECT_EQ(state.dose(0).value(), 10 * 300 * kNsPerMs);
  EXPECT_EQ(state.edges().last_touch().boottime_ns(), state.start_boottime_ns() + 9'300 * kNsPerMs);
  EXPECT_EQ(world_.host.Digest(), before_);
}

// A step must not overwrite what somebody else has set meanwhile, in a pulse and between two.
TEST_F(ShapedFaultTest, LeavesAForeignValueAlone) {
  for (const std::int64_t after_ms : {500, 1'500}) {
    const std::string id = absl::StrCat("a", after_ms);
    ASSERT_TRUE(
        controller()
            .Start(Pulse(ControllerWorld::Spec("cpu.limit", id), kNsPerSecond, kNsPerSecond))
            .ok());
    world_.Pass(after_ms * kNsPerMs + 1);
    Quota() = "70000";
    world_.Pass(kNsPerSecond);
    EXPECT_EQ(world_.Find(id).phase(), v1::PHASE_INTERFERED) << after_ms;
    EXPECT_EQ(Quota(), "70000");
    Quota() = "-1";
  }
}

TEST_F(ShapedFaultTest, EndsWithItsTarget_WhenAStepIsDue) {
  ASSERT_TRUE(controller()
                  .Start(Pulse(ControllerWorld::Spec("cpu.limit", "a", "/db"), 100 * kNsPerMs,
                               100 * kNsPerMs))
                  .ok());
  world_.Pass(150 * kNsPerMs);
  world_.host.removed.insert("/db");
  world_.Pass(kNsPerSecond);
  EXPECT_EQ(world_.Find("a").phase(), v1::PHASE_INTERFERED);
  EXPECT_THAT(world_.Find("a").reason(), HasSubstr("the target ended: "));
}

TEST_F(ShapedFaultTest, FailsAndPutsBack_WhenAStepDoesNotGo) {
  ASSERT_TRUE(
      controller().Start(Ramp(ControllerWorld::Spec("cpu.limit", "a"), 4 * kNsPerSecond)).ok());
  world_.host.on_step = [changes = 0](const std::string& step) mutable {
    return step == "change" && ++changes == 1 ? absl::UnavailableError("the kernel says no")
                                              : absl::OkStatus();
  };
  world_.Pass(kNsPerSecond);
  EXPECT_EQ(world_.Find("a").phase(), v1::PHASE_FAILED);
  EXPECT_EQ(world_.Find("a").reason(), "the kernel says no");
  EXPECT_EQ(world_.host.Digest(), before_);
}

// One that slept over several steps goes to where it should be.
TEST_F(ShapedFaultTest, CatchesUpAfterASleep) {
  ASSERT_TRUE(
      controller().Start(Ramp(ControllerWorld::Spec("cpu.limit", "a"), 4 * kNsPerSecond)).ok());
  world_.clock.Advance(3 * kNsPerSecond + 900 * kNsPerMs);
  EXPECT_LE(controller().NextDue(), world_.clock.Now().boottime_ns);
  controller().RunDue();
  EXPECT_EQ(Quota(), "58000");
}

// Whatever step a process died at, the next one takes it for its own.
TEST_F(ShapedFaultTest, ACrashOnTheWayIsUndone) {
  for (int tenths = 0; tenths < 45; ++tenths) {
    ControllerWorld world;
    const std::string before = world.host.Digest();
    ASSERT_TRUE(
        world.controller->Start(Ramp(ControllerWorld::Spec("cpu.limit", "a"), 4 * kNsPerSecond))
            .ok());
    ASSERT_TRUE(world.controller
                    ->Start(Pulse(ControllerWorld::Spec("process.pause", "b"), 300 * kNsPerMs,
                                  200 * kNsPerMs))
                    .ok());
    world.Pass(tenths * 100 * kNsPerMs);
    const bool frozen = world.host.values["/web freezer.state"] == "FROZEN";
    world.Crash();
    world.clock.Advance(20 * kNsPerSecond);
    world.Boot();
    EXPECT_EQ(world.host.Digest(), before) << tenths;
    EXPECT_EQ(world.Find("a").phase(), v1::PHASE_UNDONE) << world.Find("a").reason();
    EXPECT_TRUE(world.Find("a").dose_complete());
    const v1::FaultState pause = world.Find("b");
    EXPECT_EQ(pause.phase(), v1::PHASE_UNDONE);
    EXPECT_THAT(pause.reason(), HasSubstr(frozen ? "since when the last pulse was on is not known"
                                                 : "the group was thawed before"));
    EXPECT_LE(pause.dose(0).value(), tenths * 100 * kNsPerMs);
  }
}

TEST_F(ShapedFaultTest, MemLeakTakesItsRateFromTheRamp) {
  v1::FaultSpec spec = Ramp(ControllerWorld::Spec("mem.leak", "a"), 4 * kNsPerSecond);
  EXPECT_TRUE(controller().Validate(spec).ok());
  (*spec.mutable_parameters())["rate"] = "1MiB/s";
  const auto plan = controller().Validate(spec);
  EXPECT_TRUE(absl::IsInvalidArgument(plan.status()));
  EXPECT_THAT(std::string(plan.status().message()), HasSubstr("leave out rate"));
  v1::FaultSpec slow = Pulse(ControllerWorld::Spec("mem.leak", ""), kNsPerSecond, kNsPerSecond);
  (*slow.mutable_parameters())["bytes"] = "128MiB";
  EXPECT_THAT(controller().Validate(slow)->notes(),
              Contains(HasSubstr("64 MiB at most when it ends after 1s, not 128 MiB: for all of it "
                                 "give a higher rate, or a pulse above 2s")));
}

// By the time that a byte takes: at half of it twice the rate.
TEST_F(ShapedFaultTest, ARampOfARateComesDownToIt) {
  ASSERT_TRUE(
      controller().Start(Ramp(ControllerWorld::Spec("net.rate", "a"), 4 * kNsPerSecond)).ok());
  const v1::Change change = world_.Find("a").changes(0);
  ASSERT_EQ(change.steps_size(), 20);
  EXPECT_EQ(change.steps(0), "htb rate 40000000 bit/s");
  EXPECT_EQ(change.after(), "htb rate 1000000 bit/s");
  const auto rate = [this] { return world_.host.classes.rbegin()->second.bytes_per_second * 8; };
  EXPECT_EQ(rate(), 40'000'000U);
  std::vector<std::uint64_t> seen{rate()};
  for (int i = 0; i < 30; ++i) {
    world_.Pass(200 * kNsPerMs);
    if (rate() != seen.back()) seen.push_back(rate());
  }
  EXPECT_EQ(seen.size(), 21U);
  EXPECT_TRUE(std::is_sorted(seen.rbegin(), seen.rend()));
  EXPECT_EQ(seen.back(), 1'000'000U);
  EXPECT_EQ(world_.Find("a").phase(), v1::PHASE_VERIFIED) << world_.Find("a").reason();
  world_.Pass(10 * kNsPerSecond);
  EXPECT_EQ(world_.Find("a").phase(), v1::PHASE_UNDONE) << world_.Find("a").reason();
  EXPECT_EQ(world_.host.Digest(), before_);
  // Above what any device sends there is nothing to come down from; pulses may be short.
  v1::FaultSpec fast = Ramp(ControllerWorld::Spec("net.rate", ""), kNsPerSecond);
  (*fast.mutable_parameters())["rate"] = "100gbit";
  const auto plan = controller().Validate(fast);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->changes(0).steps(0), "htb rate 1000000000000 bit/s");
  EXPECT_TRUE(
      controller().Validate(Pulse(ControllerWorld::Spec("net.rate", ""), kNsPerMs, kNsPerMs)).ok());
  const auto steep =
      controller().Validate(Ramp(ControllerWorld::Spec("net.rate", ""), kNsPerMs)).status();
  EXPECT_THAT(std::string(steep.message()), HasSubstr("it must be at least 100ms"));
}

TEST_F(ShapedFaultTest, SaysWhichShapesThereAre) {
  std::map<std::string, std::string> shapes;
  const v1::Capabilities capabilities = controller().GetCapabilities();
  for (const v1::FaultInfo& info : capabilities.faults()) {
    shapes[info.type()] = absl::StrJoin(info.shapes(), " ");
  }
  EXPECT_EQ(shapes["cpu.limit"], "ramp pulse");
  EXPECT_EQ(shapes["process.pause"], "pulse");
  EXPECT_EQ(shapes["sham"], "");
}

// A unit's values go through systemd: each step is a property, and all of them are ours at the end.
TEST_F(ShapedFaultTest, AUnitFollowsARampAndAPulse) {
  world_.RunUnit(/*with_controller=*/true);
  const std::string before = world_.host.Digest();
  const std::string key = absl::StrCat(FakeUnits::kGroup, " cpu:cpu.max");
  ASSERT_TRUE(
      controller().Start(Ramp(ControllerWorld::UnitSpec("cpu.limit"), 4 * kNsPerSecond)).ok());
  EXPECT_EQ(world_.host.values[key], "391000 100000");
  world_.Pass(2 * kNsPerSecond);
  EXPECT_EQ(world_.Find("a").phase(), v1::PHASE_VERIFIED) << world_.Find("a").reason();
  EXPECT_EQ(world_.host.values[key], "216000 100000");
  ASSERT_TRUE(controller().Stop("a").ok());
  EXPECT_EQ(world_.Find("a").phase(), v1::PHASE_UNDONE) << world_.Find("a").reason();
  EXPECT_EQ(world_.host.Digest(), before);

  v1::FaultSpec pulse = Pulse(ControllerWorld::UnitSpec("cpu.limit"), kNsPerSecond, kNsPerSecond);
  pulse.set_id("b");
  ASSERT_TRUE(controller().Start(pulse).ok());
  EXPECT_EQ(world_.host.values[key], "50000 100000");
  world_.Pass(kNsPerSecond + 100 * kNsPerMs);
  EXPECT_EQ(world_.host.values[key], "max 100000");
  world_.Pass(kNsPerSecond);
  EXPECT_EQ(world_.host.values[key], "50000 100000");
  world_.Pass(10 * kNsPerSecond);
  EXPECT_EQ(world_.Find("b").phase(), v1::PHASE_UNDONE) << world_.Find("b").reason();
  EXPECT_EQ(world_.host.Digest(), before);
}

TEST_F(ShapedFaultTest, ADeadProcessLeftAUnitOnItsWay_AndItIsUndone) {
  for (const int tenths : {0, 5, 21, 45}) {
    ControllerWorld world;
    world.RunUnit(/*with_controller=*/true);
    const std::string before = world.host.Digest();
    ASSERT_TRUE(
        world.controller->Start(Ramp(ControllerWorld::UnitSpec("cpu.limit"), 4 * kNsPerSecond))
            .ok());
    world.Pass(tenths * 100 * kNsPerMs);
    world.Crash();
    world.Boot();
    EXPECT_EQ(world.host.Digest(), before) << tenths;
    EXPECT_EQ(world.Find("a").phase(), v1::PHASE_UNDONE) << world.Find("a").reason();
  }
}

TEST_F(ShapedFaultTest, AUnitWithoutItsController_TakesNoPulse) {
  world_.RunUnit(/*with_controller=*/false);
  const auto plan = controller().Validate(
      Pulse(ControllerWorld::UnitSpec("cpu.limit"), kNsPerSecond, kNsPerSecond));
  EXPECT_TRUE(absl::IsFailedPrecondition(plan.status())) << plan.status();
  EXPECT_THAT(std::string(plan.status().message()), HasSubstr("have it held on by"));
}

// systemd would have to turn the controller on and off with each pulse, for every unit beside.
TEST_F(ShapedFaultTest, PulsesOfAUnitWithoutItsController_AreRefused) {
  world_.RunUnit(false);
  const std::string before = world_.host.Digest();
  const auto started = controller().Start(
      Pulse(ControllerWorld::UnitSpec("cpu.limit"), 300 * kNsPerMs, 300 * kNsPerMs));
  EXPECT_TRUE(absl::IsFailedPrecondition(started.status())) << started.status();
  EXPECT_THAT(std::string(started.status().message()),
              HasSubstr("cpu.limit: the cpu controller is off for nginx.service, and a pulse"));
  EXPECT_EQ(world_.host.Digest(), before);
}

}  // namespace
}  // namespace faultline
