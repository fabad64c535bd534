// SPDX-License-Identifier: Apache-2.0
//
// Faults that are ordered ahead, on the fake host and the fake clock.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "injector/start_time.h"
#include "tests/injector/controller_fixture.h"

namespace faultline {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ScheduleTest : public ::testing::Test {
 protected:
  ScheduleTest() : before_(world_.host.Digest()) {}

  static v1::FaultSpec In(std::int64_t delay_ns, const std::string& type, const std::string& id,
                          const std::string& cgroup = "/web") {
    v1::FaultSpec spec = ControllerWorld::Spec(type, id, cgroup);
    spec.set_start_delay_ns(delay_ns);
    return spec;
  }
  Controller& controller() { return *world_.controller; }
  v1::Phase PhaseOf(const std::string& id) { return world_.Find(id).phase(); }
  std::string& Quota() { return world_.host.values["/web cpu:cpu.cfs_quota_us"]; }
  std::int64_t FirstDeadline() {
    return *Journal::FirstDeadline(world_.JournalPath(), world_.boot_id);
  }

  ControllerWorld world_;
  const std::string before_;
};

TEST_F(ScheduleTest, BeginsAtItsInstant) {
  std::vector<v1::Phase> phases;
  controller().Watch(false, [&](const v1::FaultState& state) { phases.push_back(state.phase()); });
  const std::int64_t now_ns = world_.clock.Now().boottime_ns;
  const auto accepted = controller().Start(In(60 * kNsPerSecond, "cpu.limit", "a"));
  ASSERT_TRUE(accepted.ok()) << accepted.status();
  EXPECT_EQ(accepted->phase(), v1::PHASE_ACCEPTED);
  EXPECT_EQ(accepted->start_boottime_ns(), now_ns + 60 * kNsPerSecond);
  EXPECT_EQ(accepted->deadline_boottime_ns(), now_ns + 70 * kNsPerSecond);
  EXPECT_EQ(accepted->edges().commanded().boottime_ns(), now_ns);
  EXPECT_EQ(accepted->changes_size(), 3) << "what it will change is shown";
  EXPECT_EQ(world_.host.Digest(), before_);
  EXPECT_EQ(FirstDeadline(), INT64_MAX) << "nobody has to undo it";
  EXPECT_EQ(controller().List(true).faults_size(), 1);

  world_.Pass(58 * kNsPerSecond);
  EXPECT_EQ(PhaseOf("a"), v1::PHASE_ACCEPTED);
  world_.Pass(kNsPerSecond + 500 * kNsPerMs);
  EXPECT_EQ(PhaseOf("a"), v1::PHASE_JOURNALED);
  EXPECT_EQ(FirstDeadline(), now_ns + 70 * kNsPerSecond);
  EXPECT_EQ(world_.host.Digest(), before_);
  world_.Pass(500 * kNsPerMs);
  EXPECT_EQ(PhaseOf("a"), v1::PHASE_VERIFIED);
  EXPECT_EQ(world_.Find("a").edges().acked().boottime_ns(), now_ns + 60 * kNsPerSecond);
  EXPECT_EQ(Quota(), "50000");
  world_.Pass(10 * kNsPerSecond);
  EXPECT_EQ(PhaseOf("a"), v1::PHASE_UNDONE);
  EXPECT_EQ(world_.Find("a").edges().undone().boottime_ns(), now_ns + 70 * kNsPerSecond);
  EXPECT_EQ(world_.host.Digest(), before_);
  EXPECT_THAT(phases, ElementsAre(v1::PHASE_ACCEPTED, v1::PHASE_JOURNALED, v1::PHASE_APPLIED,
                                  v1::PHASE_VERIFIED, v1::PHASE_UNDOING, v1::PHASE_UNDONE));
}

TEST_F(ScheduleTest, AnImmediateFaultStartsWhenItIsCommanded) {
  const std::int64_t now_ns = world_.clock.Now().boottime_ns;
  const auto started = controller().Start(ControllerWorld::Spec("sham", "a"));
  ASSERT_TRUE(started.ok());
  EXPECT_EQ(started->start_boottime_ns(), now_ns);
}

// Converted once: a later step of the wall clock does not move the start.
TEST_F(ScheduleTest, TakesAnInstantOfTheWallClock) {
  const Instant now = world_.clock.Now();
  v1::FaultSpec spec = ControllerWorld::Spec("sham", "a");
  spec.set_start_realtime_ns(now.realtime_ns + 5 * kNsPerSecond);
  const auto accepted = controller().Start(spec);
  ASSERT_TRUE(accepted.ok()) << accepted.status();
  EXPECT_EQ(accepted->start_boottime_ns(), now.boottime_ns + 5 * kNsPerSecond);
  world_.Pass(5 * kNsPerSecond);
  EXPECT_EQ(PhaseOf("a"), v1::PHASE_VERIFIED);
}

TEST_F(ScheduleTest, RefusesAStartThatCannotBe) {
  const auto refused = [this](const v1::FaultSpec& spec, const std::string& says) {
    const auto started = controller().Start(spec);
    EXPECT_TRUE(absl::IsInvalidArgument(started.status())) << says;
    EXPECT_THAT(std::string(started.status().message()), HasSubstr(says));
  };
  const Instant now = world_.clock.Now();
  v1::FaultSpec both = In(kNsPerSecond, "sham", "a");
  both.set_start_realtime_ns(now.realtime_ns + kNsPerSecond);
  refused(both, "it has two starts");
  refused(In(-kNsPerSecond, "sham", "b"), "1s before its command");
  refused(In(kMaxAheadNs + 1, "sham", "c"), "at most 24h ahead");
  v1::FaultSpec past = ControllerWorld::Spec("sham", "d");
  past.set_start_realtime_ns(now.realtime_ns - 1);
  refused(past, "which is over: by this host's clock it is");
  v1::FaultSpec far = ControllerWorld::Spec("sham", "e");
  far.set_start_realtime_ns(now.realtime_ns + kMaxAheadNs + 1);
  refused(far, "at most 24h ahead");
  refused(In(kNsPerSecond, "hold.controllers", "f"), "begins at once");
  // What cannot work is refused at once, not at the start.
  v1::FaultSpec bad = In(kNsPerSecond, "cpu.limit", "g");
  (*bad.mutable_parameters())["cpus"] = "100";
  refused(bad, "cpus is 100");
}

TEST_F(ScheduleTest, ARepeatedStartAnswersTheAcceptedOne) {
  ASSERT_TRUE(controller().Start(In(5 * kNsPerSecond, "sham", "a")).ok());
  world_.Pass(kNsPerSecond);
  const auto again = controller().Start(In(5 * kNsPerSecond, "sham", "a"));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->phase(), v1::PHASE_ACCEPTED);
  EXPECT_EQ(controller().List(false).faults_size(), 1);
}

TEST_F(ScheduleTest, StoppedBeforeItBegan_ItIsRefused) {
  for (const std::int64_t after_ms : {100, 4'500}) {
    const std::string id = absl::StrCat("a", after_ms);
    ASSERT_TRUE(controller().Start(In(5 * kNsPerSecond, "cpu.limit", id)).ok());
    world_.Pass(after_ms * kNsPerMs);
    const auto stopped = controller().Stop(id);
    ASSERT_TRUE(stopped.ok());
    EXPECT_EQ(stopped->phase(), v1::PHASE_REFUSED);
    EXPECT_EQ(stopped->reason(), "stopped before it began");
    EXPECT_EQ(stopped->edges().acked().boottime_ns(), 0);
    EXPECT_EQ(stopped->edges().undone().boottime_ns(), world_.clock.Now().boottime_ns);
    EXPECT_EQ(FirstDeadline(), INT64_MAX);
    world_.Pass(20 * kNsPerSecond);
    EXPECT_EQ(PhaseOf(id), v1::PHASE_REFUSED);
    EXPECT_EQ(controller().Start(In(kNsPerSecond, "cpu.limit", id))->phase(), v1::PHASE_REFUSED);
    EXPECT_EQ(world_.host.Digest(), before_);
  }
}

TEST_F(ScheduleTest, AHaltTakesThemAll) {
  ASSERT_TRUE(controller().Start(In(5 * kNsPerSecond, "cpu.limit", "a")).ok());
  ASSERT_TRUE(controller().Start(ControllerWorld::Spec("sham", "b", "/db")).ok());
  const auto halted = controller().Halt("smoke");
  ASSERT_TRUE(halted.ok());
  EXPECT_EQ(halted->ended_size(), 2);
  EXPECT_EQ(PhaseOf("a"), v1::PHASE_REFUSED);
  EXPECT_EQ(world_.Find("a").reason(), "halted: smoke");
  world_.Pass(20 * kNsPerSecond);
  EXPECT_EQ(world_.host.Digest(), before_);
}

TEST_F(ScheduleTest, TheEndOfTheInjectorTakesThemAll) {
  ASSERT_TRUE(controller().Start(In(5 * kNsPerSecond, "cpu.limit", "a")).ok());
  EXPECT_TRUE(controller().EndAll("the injector stops"));
  EXPECT_EQ(world_.Find("a").reason(), "the injector stops");
  EXPECT_EQ(controller().NextDue(), Controller::kNever);
}

// Nobody is left guessing, and no lever is pulled for what never began.
TEST_F(ScheduleTest, ADeathBeforeTheStart_IsToldByTheNextProcess) {
  for (const char* boot : {"this-boot", "next-boot"}) {
    ControllerWorld world;
    ASSERT_TRUE(world.controller->Start(In(5 * kNsPerSecond, "cpu.limit", "a")).ok());
    world.Pass(kNsPerSecond);
    world.Crash();
    world.boot_id = boot;
    world.clock.Advance(20 * kNsPerSecond);
    int steps = 0;
    world.host.on_step = [&steps](const std::string& /*step*/) {
      ++steps;
      return absl::OkStatus();
    };
    world.Boot();
    EXPECT_EQ(steps, 0);
    const v1::FaultState state = world.Find("a");
    EXPECT_EQ(state.phase(), v1::PHASE_REFUSED);
    EXPECT_EQ(state.reason(), "the injector ended before its start");
    EXPECT_EQ(state.changes_size(), 0);
    EXPECT_GE(state.edges().undone().boottime_ns(),
              state.edges().commanded().boottime_ns() + 21 * kNsPerSecond);
    EXPECT_TRUE(world.controller->recovered().empty());
    world.Crash();
    world.Boot();
    EXPECT_EQ(world.Find("a").phase(), v1::PHASE_REFUSED);
  }
}

TEST_F(ScheduleTest, ADeathShortlyBefore_IsUndoneLikeAnyOther) {
  ASSERT_TRUE(controller().Start(In(5 * kNsPerSecond, "cpu.limit", "a")).ok());
  world_.Pass(4'500 * kNsPerMs);
  ASSERT_EQ(PhaseOf("a"), v1::PHASE_JOURNALED);
  world_.Crash();
  world_.Boot();
  EXPECT_EQ(PhaseOf("a"), v1::PHASE_UNDONE);
  EXPECT_EQ(world_.host.Digest(), before_);
}

// Planned from what is there shortly before the start, not from what was there at the command.
TEST_F(ScheduleTest, RestoresWhatWasThereShortlyBefore) {
  ASSERT_TRUE(controller().Start(In(5 * kNsPerSecond, "cpu.limit", "a")).ok());
  Quota() = "300000";
  world_.Pass(6 * kNsPerSecond);
  EXPECT_EQ(Quota(), "50000");
  world_.Pass(20 * kNsPerSecond);
  EXPECT_EQ(PhaseOf("a"), v1::PHASE_UNDONE);
  EXPECT_EQ(Quota(), "300000");
}

TEST_F(ScheduleTest, RefusesWhatBecameImpossible) {
  ASSERT_TRUE(controller().Start(In(5 * kNsPerSecond, "cpu.limit", "a")).ok());
  Quota() = "20000";
  world_.Pass(6 * kNsPerSecond);
  EXPECT_EQ(PhaseOf("a"), v1::PHASE_REFUSED);
  EXPECT_THAT(world_.Find("a").reason(), HasSubstr("ask for less than 0.2"));
  EXPECT_EQ(Quota(), "20000");
  EXPECT_EQ(FirstDeadline(), INT64_MAX);
}

TEST_F(ScheduleTest, RefusesWhatChangedAtTheLastMoment) {
  ASSERT_TRUE(controller().Start(In(5 * kNsPerSecond, "cpu.limit", "a")).ok());
  world_.Pass(4'500 * kNsPerMs);
  Quota() = "300000";
  world_.Pass(kNsPerSecond);
  EXPECT_EQ(PhaseOf("a"), v1::PHASE_REFUSED);
  EXPECT_THAT(world_.Find("a").reason(), HasSubstr("is 300000; before the fault it was -1"));
  EXPECT_EQ(Quota(), "300000");
  EXPECT_EQ(FirstDeadline(), INT64_MAX);
}

// A group that has a limit is throttled without us, too.
TEST_F(ScheduleTest, CountsOnlyWhatItDidFromItsStartOn) {
  ASSERT_TRUE(controller().Start(In(5 * kNsPerSecond, "cpu.limit", "a")).ok());
  world_.Pass(4'500 * kNsPerMs);
  world_.host.throttled_ns = 1'000;
  world_.host.throttled_periods = 1;
  world_.Pass(kNsPerSecond);
  EXPECT_EQ(PhaseOf("a"), v1::PHASE_VERIFIED);
  EXPECT_EQ(world_.Find("a").edges().first_touch().boottime_ns(), 0);
  world_.host.throttled_ns = 1'500;
  world_.Pass(kNsPerSecond);
  EXPECT_EQ(world_.Find("a").dose(0).value(), 500);
}

TEST_F(ScheduleTest, TriesAgainWhatDidNotAnswer) {
  ASSERT_TRUE(controller().Start(In(5 * kNsPerSecond, "cpu.limit", "a")).ok());
  int failures = 3;
  world_.host.on_step = [&failures](const std::string& step) {
    return step == "read" && failures > 0 && failures-- > 0 ? absl::UnavailableError("busy")
                                                            : absl::OkStatus();
  };
  world_.Pass(6 * kNsPerSecond);
  EXPECT_EQ(failures, 0);
  EXPECT_EQ(PhaseOf("a"), v1::PHASE_VERIFIED) << world_.Find("a").reason();
}

// The number changes hands after the command: long before the start, and after the last plan, a
// second before it. The other one is in the same group.
TEST_F(ScheduleTest, RefusesAProcessWhoseNumberIsAnothers_WhateverTheFault) {
  FakeProcesses& processes = world_.host.processes;
  for (const char* type :
       {"cpu.limit", "mem.leak", "process.pause", "process.kill", "net.loss", "sham"}) {
    for (const std::int64_t ns : {kNsPerSecond, 4'500 * kNsPerMs}) {
      for (const bool reused : {true, false}) {
        SCOPED_TRACE(absl::StrCat(type, " ", ns, " ", reused));
        const pid_t pid = processes.Add("/web");
        v1::FaultSpec spec = ControllerWorld::Spec(type, absl::StrCat(type, "-", pid));
        std::replace(spec.mutable_id()->begin(), spec.mutable_id()->end(), '.', '-');
        spec.mutable_target()->set_pid(pid);
        spec.set_start_delay_ns(5 * kNsPerSecond);
        const absl::StatusOr<v1::FaultState> accepted = world_.controller->Start(spec);
        ASSERT_TRUE(accepted.ok()) << accepted.status();
        EXPECT_EQ(accepted->cgroup(), "/web");
        world_.Pass(ns);
        processes.all[pid].start_time += 7;
        if (!reused) processes.all.erase(pid);
        world_.Pass(6 * kNsPerSecond);
        const v1::FaultState state = world_.Find(spec.id());
        EXPECT_EQ(state.phase(), v1::PHASE_REFUSED);
        if (reused) {
          EXPECT_THAT(state.reason(), HasSubstr(absl::StrCat("process ", pid,
                                                             " has ended since "
                                                             "the command, and its number is ")));
        }
        EXPECT_EQ(world_.host.Digest(), before_);
      }
    }
  }
}

TEST_F(ScheduleTest, RefusesAGroupThatIsGone) {
  ASSERT_TRUE(controller().Start(In(5 * kNsPerSecond, "cpu.limit", "a", "/db")).ok());
  world_.host.removed.insert("/db");
  world_.Pass(6 * kNsPerSecond);
  EXPECT_EQ(PhaseOf("a"), v1::PHASE_REFUSED);
}

// One after the other on the same group: to the command of the second the first one's work is not
// what will be there.
TEST_F(ScheduleTest, BackToBack_EachRestoresWhatWasThereBefore) {
  ASSERT_TRUE(controller().Start(ControllerWorld::Spec("cpu.limit", "a")).ok());
  const auto next = controller().Start(In(10 * kNsPerSecond, "cpu.limit", "b"));
  ASSERT_TRUE(next.ok()) << next.status();
  ASSERT_TRUE(controller().Start(In(20 * kNsPerSecond, "cpu.limit", "c")).ok());
  world_.Pass(9'500 * kNsPerMs);
  EXPECT_EQ(PhaseOf("b"), v1::PHASE_ACCEPTED);
  for (const char* id : {"b", "c"}) {
    world_.Pass(5 * kNsPerSecond);
    EXPECT_EQ(PhaseOf(id), v1::PHASE_VERIFIED) << world_.Find(id).reason();
    EXPECT_EQ(world_.Find(id).changes(2).before(), "-1");
    EXPECT_EQ(Quota(), "50000");
    world_.Pass(5 * kNsPerSecond);
  }
  world_.Pass(20 * kNsPerSecond);
  EXPECT_EQ(world_.host.Digest(), before_);
}

TEST_F(ScheduleTest, RefusesWhatOverlaps_AndOnlyThat) {
  ASSERT_TRUE(controller().Start(In(60 * kNsPerSecond, "cpu.limit", "a")).ok());
  const auto overlapping = controller().Start(In(65 * kNsPerSecond, "cpu.limit", "b"));
  EXPECT_TRUE(absl::IsFailedPrecondition(overlapping.status()));
  EXPECT_THAT(
      std::string(overlapping.status().message()),
      AllOf(HasSubstr("fault a (cpu.limit, from "), HasSubstr("Z) is to change cpu:cpu.cfs_")));
  EXPECT_TRUE(controller().Start(In(70 * kNsPerSecond, "cpu.limit", "c")).ok());
  EXPECT_TRUE(controller().Start(ControllerWorld::Spec("cpu.limit", "d")).ok());
  v1::FaultSpec longer = ControllerWorld::Spec("cpu.limit", "e", "/db");
  longer.set_duration_ns(100 * kNsPerSecond);
  EXPECT_TRUE(controller().Start(longer).ok());
  world_.Pass(100 * kNsPerSecond);
  for (const char* id : {"a", "c", "d", "e"}) EXPECT_EQ(PhaseOf(id), v1::PHASE_UNDONE) << id;
  EXPECT_EQ(world_.host.Digest(), before_);
}

TEST_F(ScheduleTest, CountsWhatOverlaps) {
  for (int i = 0; i < 8; ++i) {
    ASSERT_TRUE(
        controller().Start(In((i + 1) * 10 * kNsPerSecond, "sham", absl::StrCat("s", i))).ok())
        << i;
  }
  for (int i = 0; i < 4; ++i) {
    ASSERT_TRUE(controller()
                    .Start(In(200 * kNsPerSecond, "mem.leak", absl::StrCat("m", i),
                              i % 2 == 0 ? "/web" : "/db"))
                    .ok() ||
                i >= 2);
  }
  ASSERT_TRUE(controller().Start(In(200 * kNsPerSecond, "net.loss", "n")).ok());
  ASSERT_TRUE(controller().Start(In(200 * kNsPerSecond, "process.pause", "p")).ok());
  const auto fifth = controller().Start(In(205 * kNsPerSecond, "sham", "x"));
  EXPECT_THAT(std::string(fifth.status().message()), HasSubstr("this host allows 4 faults"));
}

TEST_F(ScheduleTest, SleptThroughItsEnd_ItIsRefused) {
  ASSERT_TRUE(controller().Start(In(5 * kNsPerSecond, "cpu.limit", "a")).ok());
  world_.clock.Advance(100 * kNsPerSecond);
  controller().RunDue();
  EXPECT_EQ(PhaseOf("a"), v1::PHASE_REFUSED);
  EXPECT_EQ(world_.Find("a").reason(), "its end was over before it could begin");
  EXPECT_EQ(world_.host.Digest(), before_);
}

TEST_F(ScheduleTest, AFailureAtTheStart_IsUndoneAndTold) {
  ASSERT_TRUE(controller().Start(In(5 * kNsPerSecond, "cpu.limit", "a")).ok());
  world_.host.on_step = [](const std::string& step) {
    return step == "change" ? absl::UnavailableError("the kernel says no") : absl::OkStatus();
  };
  world_.Pass(6 * kNsPerSecond);
  EXPECT_EQ(PhaseOf("a"), v1::PHASE_FAILED);
  EXPECT_EQ(world_.host.Digest(), before_);
}

// What is held for a run has to be there before a fault begins, and is.
TEST_F(ScheduleTest, AHoldMayBeginBeforeIt) {
  world_.RunUnit(/*with_controller=*/false);
  const std::string before = world_.host.Digest();
  v1::FaultSpec fault = ControllerWorld::UnitSpec("cpu.limit");
  fault.set_start_delay_ns(60 * kNsPerSecond);
  ASSERT_TRUE(controller().Start(fault).ok());
  v1::FaultSpec hold = ControllerWorld::UnitSpec("hold.controllers");
  hold.set_id("hold");
  hold.set_duration_ns(1000 * kNsPerSecond);
  const auto held = controller().Start(hold);
  ASSERT_TRUE(held.ok()) << held.status();
  world_.Pass(61 * kNsPerSecond);
  EXPECT_EQ(PhaseOf("a"), v1::PHASE_VERIFIED) << world_.Find("a").reason();
  world_.Pass(2000 * kNsPerSecond);
  EXPECT_EQ(world_.host.Digest(), before);
}

// Two that wait, a pulse and a ramp, all on one clock.
TEST_F(ScheduleTest, SeveralAtOnce_EachKeepsItsTimes) {
  const std::int64_t begin_ns = world_.clock.Now().boottime_ns;
  v1::FaultSpec ramp = In(3 * kNsPerSecond, "cpu.limit", "ramp");
  ramp.mutable_shape()->set_kind(v1::SHAPE_KIND_RAMP);
  ramp.mutable_shape()->set_ramp_ns(4 * kNsPerSecond);
  v1::FaultSpec pulse = In(2 * kNsPerSecond, "process.pause", "pulse", "/db");
  pulse.mutable_shape()->set_kind(v1::SHAPE_KIND_PULSE);
  pulse.mutable_shape()->set_on_ns(kNsPerSecond);
  pulse.mutable_shape()->set_off_ns(kNsPerSecond);
  ASSERT_TRUE(controller().Start(ramp).ok());
  ASSERT_TRUE(controller().Start(pulse).ok());
  ASSERT_TRUE(controller().Start(ControllerWorld::Spec("mem.leak", "now")).ok());
  world_.Pass(5 * kNsPerSecond + 100 * kNsPerMs);
  // The ramp is 2.1 s old, the pulse 3.1 s.
  EXPECT_EQ(Quota(), "216000");
  EXPECT_EQ(world_.host.values["/db freezer.state"], "THAWED");
  world_.Pass(kNsPerSecond);
  EXPECT_EQ(world_.host.values["/db freezer.state"], "FROZEN");
  world_.Pass(3 * kNsPerSecond);
  EXPECT_EQ(Quota(), "50000");
  world_.Pass(20 * kNsPerSecond);
  EXPECT_EQ(world_.host.Digest(), before_);
  EXPECT_EQ(world_.Find("ramp").edges().undone().boottime_ns(), begin_ns + 13 * kNsPerSecond);
  EXPECT_EQ(world_.Find("pulse").edges().undone().boottime_ns(), begin_ns + 12 * kNsPerSecond);
  EXPECT_EQ(world_.Find("pulse").dose(0).value(), 5 * kNsPerSecond);
  EXPECT_EQ(world_.Find("now").phase(), v1::PHASE_UNDONE);
}

TEST_F(ScheduleTest, TheThreadBeginsIt) {
  world_.controller.reset();
  world_.run_thread = true;
  world_.Boot();
  absl::Mutex mutex;
  bool active = false;
  controller().Watch(false, [&](const v1::FaultState& state) {
    const absl::MutexLock lock(&mutex);
    active = active || state.phase() == v1::PHASE_VERIFIED;
  });
  ASSERT_TRUE(controller().Start(In(5 * kNsPerSecond, "cpu.limit", "a")).ok());
  world_.clock.Advance(5 * kNsPerSecond);
  const absl::MutexLock lock(&mutex);
  EXPECT_TRUE(mutex.AwaitWithTimeout(absl::Condition(&active), absl::Seconds(10)));
}

}  // namespace
}  // namespace faultline
