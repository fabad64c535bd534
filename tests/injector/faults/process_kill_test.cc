// SPDX-License-Identifier: Apache-2.0
//
// process.kill on the fake host: who gets the signal, when, and who never does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>

#include "tests/injector/controller_fixture.h"

namespace faultline {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ProcessKillTest : public ::testing::Test {
 protected:
  ProcessKillTest() : web_(world_.host.processes.all.begin()->first) {}

  static v1::FaultSpec Kill(const std::string& signal = "KILL", const std::string& every = "0") {
    v1::FaultSpec spec = ControllerWorld::Spec("process.kill", "a");
    (*spec.mutable_parameters())["signal"] = signal;
    (*spec.mutable_parameters())["every"] = every;
    return spec;
  }
  static v1::FaultSpec KillOne(pid_t pid) {
    v1::FaultSpec spec = Kill();
    spec.mutable_target()->set_pid(pid);
    return spec;
  }
  Controller& controller() { return *world_.controller; }
  FakeProcesses& processes() { return world_.host.processes; }
  std::vector<std::int64_t> Doses() const {
    std::vector<std::int64_t> values;
    const v1::FaultState state = world_.Find("a");
    for (const v1::Dose& dose : state.dose()) values.push_back(dose.value());
    return values;
  }

  ControllerWorld world_;
  // One in /web.
  const pid_t web_;
};

TEST_F(ProcessKillTest, EndsEveryProcessOfTheGroupAndBelow_AndStaysActive) {
  const pid_t more = processes().Add("/web");
  const auto started = controller().Start(Kill());
  ASSERT_TRUE(started.ok()) << started.status();
  EXPECT_EQ(processes().all.count(more), 0u);
  ASSERT_EQ(processes().all.size(), 1u);
  EXPECT_EQ(processes().all.begin()->second.cgroup, "/db");
  EXPECT_NE(started->edges().first_touch().boottime_ns(), 0);
  EXPECT_THAT(Doses(), ElementsAre(3, 3, 3));
  // Once: what comes back stays.
  processes().Add("/web");
  world_.Pass(5 * kNsPerSecond);
  EXPECT_EQ(processes().all.size(), 2u);
  EXPECT_EQ(world_.Find("a").phase(), v1::PHASE_VERIFIED);
  world_.Pass(6 * kNsPerSecond);
  const v1::FaultState ended = world_.Find("a");
  EXPECT_EQ(ended.phase(), v1::PHASE_UNDONE);
  EXPECT_THAT(ended.residue(), IsEmpty());
  EXPECT_TRUE(ended.dose_complete());
  EXPECT_EQ(ended.edges().undone().boottime_ns(), ended.deadline_boottime_ns());
}

TEST_F(ProcessKillTest, OfAPid_ThatOneAlone) {
  const pid_t beside = processes().Add("/web");
  const auto started = controller().Start(KillOne(web_));
  ASSERT_TRUE(started.ok()) << started.status();
  EXPECT_EQ(started->changes(0).object(), absl::StrCat("process ", web_));
  EXPECT_EQ(processes().all.count(web_), 0u);
  EXPECT_EQ(processes().all.count(beside), 1u);
  EXPECT_THAT(Doses(), ElementsAre(1, 1, 1));
}

// Between the plan and the signal.
TEST_F(ProcessKillTest, NeverToAnotherOfItsNumber) {
  int changes = 0;
  world_.host.on_step = [&](const std::string& step) {
    if (step == "change" && changes++ == 0) processes().all[web_].start_time = 7;
    return absl::OkStatus();
  };
  // The number changes hands right before the first signal: the descriptor is the dead one's.
  const absl::Status refused = controller().Start(KillOne(web_)).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("has ended since it was looked at, and "));
  EXPECT_THAT(processes().all[web_].signals, IsEmpty());
  EXPECT_THAT(Doses(), ElementsAre(0, 0, 0));
}

TEST_F(ProcessKillTest, NorToAnotherByTheTimeOfItsStart) {
  v1::FaultSpec spec = KillOne(web_);
  spec.set_start_delay_ns(5 * kNsPerSecond);
  ASSERT_TRUE(controller().Start(spec).ok());
  world_.Pass(kNsPerSecond);
  processes().all[web_].start_time = 7;
  world_.Pass(6 * kNsPerSecond);
  const v1::FaultState state = world_.Find("a");
  EXPECT_EQ(state.phase(), v1::PHASE_REFUSED);
  EXPECT_THAT(state.reason(), HasSubstr("its number is another's by now"));
  EXPECT_THAT(processes().all[web_].signals, IsEmpty());
}

TEST_F(ProcessKillTest, WhoMustNotGetOneIsRefused_AndLeftOutOfAGroup) {
  processes().all[web_].kept = "process 1 is the init";
  const absl::Status refused = controller().Validate(KillOne(web_)).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("is the init"));
  processes().Add("/web");
  ASSERT_TRUE(controller().Start(Kill()).ok());
  EXPECT_EQ(processes().all.count(web_), 1u);
  EXPECT_THAT(Doses(), ElementsAre(2, 2, 2));
}

TEST_F(ProcessKillTest, HelpersOfOtherFaultsAreLeftOut) {
  ASSERT_TRUE(controller().Start(ControllerWorld::Spec("mem.leak", "b")).ok());
  const pid_t helper = world_.host.helpers.begin()->first;
  processes().all[helper] = {"/web", 5};
  ASSERT_TRUE(controller().Start(Kill()).ok());
  EXPECT_EQ(processes().all.count(helper), 1u);
}

TEST_F(ProcessKillTest, Every_MeetsWhatCameBack) {
  ASSERT_TRUE(controller().Start(Kill("TERM", "2s")).ok());
  const auto active = [this] { return world_.Find("a").phase() == v1::PHASE_VERIFIED; };
  EXPECT_THAT(Doses(), ElementsAre(2, 2, 2));
  processes().Add("/web");
  world_.Pass(1'900 * kNsPerMs);
  EXPECT_EQ(Doses().front(), 2);
  world_.Pass(200 * kNsPerMs);
  EXPECT_EQ(Doses().front(), 3);
  world_.Pass(6 * kNsPerSecond);
  EXPECT_EQ(Doses().front(), 3);
  EXPECT_TRUE(active());
}

TEST_F(ProcessKillTest, ASignalThatIsHandledEndsNobody_AndCountsEachProcessOnce) {
  processes().handled = {SIGUSR1};
  v1::FaultSpec spec = Kill("USR1");
  spec.mutable_shape()->set_kind(v1::SHAPE_KIND_PULSE);
  spec.mutable_shape()->set_on_ns(kNsPerSecond);
  spec.mutable_shape()->set_off_ns(kNsPerSecond);
  ASSERT_TRUE(controller().Start(spec).ok());
  world_.Pass(4'500 * kNsPerMs);
  EXPECT_THAT(processes().all[web_].signals, ElementsAre(SIGUSR1, SIGUSR1, SIGUSR1));
  EXPECT_THAT(Doses(), ElementsAre(2, 0, 6));
}

// A unit that is started again has a new group of the same name.
TEST_F(ProcessKillTest, ItsTargetMayGoAndComeAgain) {
  ASSERT_TRUE(controller().Start(Kill("KILL", "1s")).ok());
  world_.host.removed.insert("/web");
  world_.Pass(2 * kNsPerSecond);
  EXPECT_EQ(world_.Find("a").phase(), v1::PHASE_VERIFIED) << world_.Find("a").reason();
  world_.host.removed.clear();
  world_.host.Remake("/web");
  processes().Add("/web");
  world_.Pass(2 * kNsPerSecond);
  EXPECT_EQ(world_.Find("a").phase(), v1::PHASE_VERIFIED) << world_.Find("a").reason();
  EXPECT_EQ(Doses().front(), 3);
  world_.Pass(10 * kNsPerSecond);
  EXPECT_EQ(world_.Find("a").phase(), v1::PHASE_UNDONE);
}

TEST_F(ProcessKillTest, TwoOnOneTargetAreRefused) {
  ASSERT_TRUE(controller().Start(Kill()).ok());
  v1::FaultSpec second = Kill("TERM");
  second.set_id("b");
  const absl::Status refused = controller().Start(second).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("fault a (process.kill, until "));
}

TEST_F(ProcessKillTest, SaysWhatItMeans_AndRefusesWhatCannotBe) {
  EXPECT_THAT(controller().Validate(Kill())->notes(), Contains(HasSubstr("cannot be undone")));
  EXPECT_THAT(controller().Validate(Kill())->notes(), Contains(HasSubstr("stays active for 10s")));
  EXPECT_THAT(controller().Validate(Kill("KILL", "1s"))->notes(),
              Contains("it is sent every 1s, also to what came back"));
  EXPECT_THAT(std::string(controller().Validate(Kill("STOP")).status().message()),
              HasSubstr("it must be KILL or TERM"));
  EXPECT_THAT(std::string(controller().Validate(Kill("KILL", "10ms")).status().message()),
              HasSubstr("every is 10ms; it must be 0, which is once, or at least 200ms"));
  v1::FaultSpec both = Kill("KILL", "1s");
  both.mutable_shape()->set_kind(v1::SHAPE_KIND_PULSE);
  both.mutable_shape()->set_on_ns(kNsPerSecond);
  both.mutable_shape()->set_off_ns(kNsPerSecond);
  EXPECT_THAT(std::string(controller().Validate(both).status().message()),
              HasSubstr("leave one of them out"));
  for (int i = 0; i < 500; ++i) processes().Add("/web");
  EXPECT_THAT(std::string(controller().Validate(Kill()).status().message()),
              HasSubstr("has 502 processes, and at most 500"));
}

// The counts are the injector's own: after its death they are what it had journaled.
TEST_F(ProcessKillTest, AfterADeathItsDoseIsWhatWasJournaled) {
  ASSERT_TRUE(controller().Start(Kill()).ok());
  world_.Pass(kNsPerSecond);
  world_.Crash();
  world_.Boot();
  v1::FaultState state = world_.Find("a");
  EXPECT_EQ(state.phase(), v1::PHASE_UNDONE);
  EXPECT_TRUE(state.dose_complete()) << state.reason();
  EXPECT_THAT(Doses(), ElementsAre(2, 2, 2));

  world_.Forget();
  world_.Crash();
  world_.Boot();
  processes().handled = {SIGHUP};
  processes().Add("/web");
  ASSERT_TRUE(controller().Start(Kill("HUP")).ok());
  world_.Pass(kNsPerSecond);
  world_.Crash();
  world_.Boot();
  state = world_.Find("a");
  EXPECT_FALSE(state.dose_complete());
  EXPECT_THAT(state.reason(), HasSubstr("its dose is exact but for processes_ended"));
  EXPECT_THAT(processes().all.rbegin()->second.signals, ElementsAre(SIGHUP));
}

}  // namespace
}  // namespace faultline
