// SPDX-License-Identifier: Apache-2.0
//
// process.kill: who ends, and by which signal, as the parent of the target's processes learns it.
#include <csignal>

#include "tests/kernel/fault_fixture.h"

namespace faultline {
namespace {

class ProcessKill : public FaultTest {
 protected:
  v1::FaultSpec KillWith(const std::string& name, const std::string& signal,
                         const std::string& every = "0") const {
    v1::FaultSpec spec = Spec("process.kill", name, 30);
    (*spec.mutable_parameters())["signal"] = signal;
    (*spec.mutable_parameters())["every"] = every;
    return spec;
  }

  // A child that does nothing, and ignores `ignored`.
  pid_t Sleeper(int ignored = 0) {
    const absl::StatusOr<pid_t> child = group_->Spawn([ignored] {
      if (ignored != 0) signal(ignored, SIG_IGN);
      while (true) pause();
      return 0;
    });
    EXPECT_TRUE(child.ok()) << child.status();
    // Until it has got that far.
    SleepMs(50);
    return child.ok() ? *child : -1;
  }
  static bool Lives(pid_t pid) { return waitpid(pid, nullptr, WNOHANG) == 0; }

  void ExpectDose(const std::string& name, const std::vector<std::int64_t>& dose) {
    const v1::FaultState state = injector_.Find(Id(name));
    ASSERT_EQ(state.dose_size(), 3) << state.ShortDebugString();
    for (int i = 0; i < 3; ++i) {
      EXPECT_EQ(state.dose(i).value(), dose[static_cast<size_t>(i)]) << state.dose(i).name();
    }
  }
};

TEST_F(ProcessKill, EndsEveryProcessOfTheGroup_AndNoOther) {
  const pid_t first = Sleeper();
  const pid_t second = Sleeper();
  const pid_t outside = fork();
  if (outside == 0) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (true) pause();
  }
  const std::int64_t begin_ns = Clock::System().Now().boottime_ns;
  const auto started = injector_.Inject(KillWith("kill", "KILL"));
  ASSERT_TRUE(started.ok()) << started.status();
  EXPECT_EQ(group_->Wait(first), 128 + SIGKILL);
  EXPECT_EQ(group_->Wait(second), 128 + SIGKILL);
  const std::int64_t end_ns = Clock::System().Now().boottime_ns;
  EXPECT_TRUE(Lives(outside));
  kill(outside, SIGKILL);
  waitpid(outside, nullptr, 0);
  SleepMs(300);
  ExpectDose("kill", {2, 2, 2});
  const v1::FaultState state = injector_.Find(Id("kill"));
  EXPECT_EQ(state.phase(), v1::PHASE_VERIFIED) << "it lasts until its end";
  EXPECT_GE(state.edges().first_touch().boottime_ns(), begin_ns);
  EXPECT_LE(state.edges().last_touch().boottime_ns(), end_ns);
  EXPECT_LT(state.edges().first_touch().error_ns(), 10 * kNsPerMs);
  const auto stopped = injector_.Stop(Id("kill"));
  ASSERT_TRUE(stopped.ok());
  EXPECT_EQ(stopped->phase(), v1::PHASE_UNDONE);
  EXPECT_EQ(stopped->residue_size(), 0);
  EXPECT_TRUE(stopped->dose_complete());
}

TEST_F(ProcessKill, OfAPid_EndsThatOneAlone) {
  const pid_t target = Sleeper();
  const pid_t beside = Sleeper();
  v1::FaultSpec spec = KillWith("one", "TERM");
  spec.mutable_target()->set_pid(target);
  const auto started = injector_.Inject(spec);
  ASSERT_TRUE(started.ok()) << started.status();
  EXPECT_EQ(group_->Wait(target), 128 + SIGTERM);
  EXPECT_TRUE(Lives(beside));
  SleepMs(200);
  ExpectDose("one", {1, 1, 1});
  ASSERT_TRUE(injector_.Stop(Id("one")).ok());
  spec.set_id(Id("again"));
  EXPECT_FALSE(injector_.Inject(spec).ok()) << "it is gone";
}

TEST_F(ProcessKill, Every_MeetsWhatCameBack) {
  const pid_t first = Sleeper();
  ASSERT_TRUE(injector_.Inject(KillWith("every", "KILL", "500ms")).ok());
  EXPECT_EQ(group_->Wait(first), 128 + SIGKILL);
  for (int i = 0; i < 3; ++i) {
    const std::int64_t begin_ns = Clock::System().Now().boottime_ns;
    EXPECT_EQ(group_->Wait(Sleeper()), 128 + SIGKILL);
    EXPECT_LT(Clock::System().Now().boottime_ns - begin_ns, kNsPerSecond);
  }
  SleepMs(200);
  ExpectDose("every", {4, 4, 4});
  ASSERT_TRUE(injector_.Stop(Id("every")).ok());
  const pid_t after = Sleeper();
  SleepMs(700);
  EXPECT_TRUE(Lives(after));
}

TEST_F(ProcessKill, OneThatIgnoresTheSignalIsSignalled_AndDoesNotEnd) {
  const pid_t child = Sleeper(SIGHUP);
  v1::FaultSpec spec = KillWith("hup", "HUP");
  spec.mutable_shape()->set_kind(v1::SHAPE_KIND_PULSE);
  spec.mutable_shape()->set_on_ns(200 * kNsPerMs);
  spec.mutable_shape()->set_off_ns(200 * kNsPerMs);
  ASSERT_TRUE(injector_.Inject(spec).ok());
  SleepMs(1000);
  ExpectDose("hup", {1, 0, 3});
  EXPECT_TRUE(Lives(child));
  ASSERT_TRUE(injector_.Stop(Id("hup")).ok());
}

// As systemd does it for a unit that it starts again.
TEST_F(ProcessKill, AGroupThatIsMadeAnewIsItsTargetStill) {
  const pid_t first = Sleeper();
  ASSERT_TRUE(injector_.Inject(KillWith("anew", "KILL", "400ms")).ok());
  EXPECT_EQ(group_->Wait(first), 128 + SIGKILL);
  for (const CgroupTree::Hierarchy& hierarchy : group_->tree().hierarchies()) {
    const std::string dir = CgroupTree::Directory(hierarchy, group_->path());
    for (int i = 0; i < 400 && rmdir(dir.c_str()) != 0 && errno == EBUSY; ++i) SleepMs(5);
  }
  SleepMs(600);
  EXPECT_EQ(injector_.Find(Id("anew")).phase(), v1::PHASE_VERIFIED);
  for (const CgroupTree::Hierarchy& hierarchy : group_->tree().hierarchies()) {
    const std::string dir = CgroupTree::Directory(hierarchy, group_->path());
    ASSERT_EQ(mkdir(dir.c_str(), 0755), 0) << dir;
    // A cpuset of v1 takes no process as long as it is empty.
    for (const char* file : {"/cpuset.cpus", "/cpuset.mems"}) {
      std::ifstream in(hierarchy.mount + file);
      std::string all;
      if (!hierarchy.v2 && in >> all) std::ofstream(dir + file) << all;
    }
  }
  EXPECT_EQ(group_->Wait(Sleeper()), 128 + SIGKILL);
  SleepMs(300);
  EXPECT_EQ(injector_.Find(Id("anew")).phase(), v1::PHASE_VERIFIED);
  ExpectDose("anew", {2, 2, 2});
  ASSERT_TRUE(injector_.Stop(Id("anew")).ok());
}

// Helpers of other faults, and the injector, should somebody have moved it there.
TEST_F(ProcessKill, WhatIsOursIsLeftOut) {
  const pid_t child = Sleeper();
  v1::FaultSpec load = Spec("cpu.load", "load", 30);
  (*load.mutable_parameters())["cpus"] = "0.1";
  ASSERT_TRUE(injector_.Inject(load).ok());
  const auto started = injector_.Inject(KillWith("kill", "KILL"));
  ASSERT_TRUE(started.ok()) << started.status();
  EXPECT_EQ(group_->Wait(child), 128 + SIGKILL);
  SleepMs(100);
  ExpectDose("kill", {1, 1, 1});
  EXPECT_EQ(CountHelpers(Id("")), 1);
  ASSERT_TRUE(injector_.Stop(Id("load")).ok());
  ASSERT_TRUE(injector_.Stop(Id("kill")).ok());
  v1::FaultSpec itself = KillWith("itself", "KILL");
  itself.mutable_target()->set_pid(injector_.pid());
  EXPECT_TRUE(absl::IsFailedPrecondition(injector_.Inject(itself).status()));
  // Nor the group that it is in.
  ASSERT_TRUE(group_->Add(injector_.pid()).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(injector_.Inject(KillWith("group", "KILL")).status()));
}

}  // namespace
}  // namespace faultline
