// SPDX-License-Identifier: Apache-2.0
//
// A fault ends with its target, and what cannot be injected is refused in words that name who is in
// the way and what to do.
#include "absl/strings/match.h"
#include "absl/strings/str_replace.h"
#include "base/systemd.h"
#include "tests/kernel/fault_network.h"

namespace faultline {
namespace {

class Target : public NetFaultTest {
 protected:
  static std::string Tag(const std::string& type) {
    return absl::StrReplaceAll(type, {{".", "-"}});
  }
  v1::FaultSpec Any(const std::string& type, const std::string& name,
                    const std::string& cgroup) const {
    v1::FaultSpec spec = MakeSpec(type, Id(name), cgroup, 30);
    auto& parameters = *spec.mutable_parameters();
    if (type == "cpu.limit") parameters["cpus"] = "0.5";
    if (type == "mem.leak") parameters["bytes"] = "4MiB";
    if (type == "net.loss") parameters["loss"] = "50%";
    if (type == "net.rate") parameters["rate"] = "10mbit";
    if (absl::StartsWith(type, "net.")) parameters["device"] = TestNetwork::kHereDevice;
    return spec;
  }
};

TEST_F(Target, RemovedGroupEndsEveryFault) {
  for (const char* type : {"cpu.limit", "process.pause", "net.loss", "net.rate", "sham"}) {
    SCOPED_TRACE(type);
    absl::StatusOr<std::unique_ptr<TestCgroup>> group = TestCgroup::Create("gone");
    ASSERT_TRUE(group.ok()) << group.status();
    const v1::FaultSpec spec = Any(type, Tag(type), (*group)->path());
    const auto started = injector_.Inject(spec);
    ASSERT_TRUE(started.ok()) << started.status();
    SleepMs(600);
    group->reset();
    const std::int64_t removed_ns = Clock::System().Now().boottime_ns;
    const v1::FaultState ended = injector_.WaitForEnd(spec.id(), 5);
    EXPECT_EQ(ended.phase(), v1::PHASE_INTERFERED);
    EXPECT_TRUE(absl::StartsWith(ended.reason(), "the target ended: ")) << ended.reason();
    EXPECT_EQ(ended.residue_size(), 0);
    EXPECT_LT(ended.edges().undone().boottime_ns() - removed_ns, kNsPerSecond);
    EXPECT_LE(ended.edges().undone().boottime_ns() - ended.edges().undone().error_ns(), removed_ns);
    ExpectEdgesInOrder(ended);
  }
}

// By its name, on a host without systemd, wherever below the group it runs; systemd's units are in
// tests/vm.
TEST_F(Target, AGroupThatHoldsAProtectedServiceIsRefused) {
  if (SystemdRuns()) GTEST_SKIP() << "systemd runs here and tells where services are (tests/vm)";
  ASSERT_TRUE(injector_.Inject(Any("cpu.limit", "before", group_->path())).ok());
  ASSERT_TRUE(injector_.Stop(Id("before")).ok());
  const absl::StatusOr<pid_t> sshd = group_->Spawn([] {
    prctl(PR_SET_NAME, "sshd");
    return pause();
  });
  ASSERT_TRUE(sshd.ok()) << sshd.status();
  while (Slurp(absl::StrCat("/proc/", *sshd, "/comm")) != "sshd\n") SleepMs(1);
  const absl::Status refused = injector_.Inject(Any("cpu.limit", "after", group_->path())).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_TRUE(absl::StrContains(refused.message(),
                                absl::StrCat("is the group of process ", *sshd, " (sshd)")))
      << refused;
  EXPECT_EQ(Digest(), before_);
}

// Without a link no packet passes: that is not the fault's doing, and the label must not say so.
// The other end's going down is seen as well.
TEST_F(Target, DeviceThatWentDownClosesTheFaultAsInterfered) {
  for (const bool there : {false, true}) {
    for (const char* type : {"net.loss", "net.rate"}) {
      SCOPED_TRACE(absl::StrCat(type, there ? ", other end" : ""));
      const v1::FaultSpec spec = Any(type, absl::StrCat(Tag(type), there), group_->path());
      ASSERT_TRUE(injector_.Inject(spec).ok());
      SleepMs(600);
      EXPECT_EQ(injector_.Find(spec.id()).phase(), v1::PHASE_VERIFIED);
      const std::int64_t down_ns = Clock::System().Now().boottime_ns;
      absl::Status flapped;
      const auto flap = [&flapped](const char* device) { flapped = TestNetwork::Flap(device); };
      if (there) {
        network_->InThere([&] { flap(TestNetwork::kThereDevice); });
      } else {
        flap(TestNetwork::kHereDevice);
      }
      ASSERT_TRUE(flapped.ok()) << flapped;
      const v1::FaultState ended = injector_.WaitForEnd(spec.id(), 5);
      EXPECT_EQ(ended.phase(), v1::PHASE_INTERFERED);
      EXPECT_EQ(ended.reason(), "device fltest0 was without a link in between");
      EXPECT_LT(ended.edges().undone().boottime_ns() - down_ns, kNsPerSecond);
      EXPECT_EQ(ended.residue_size(), 0);
    }
  }
}

// A leak would keep a group alive whose processes have all ended.
TEST_F(Target, EmptiedGroupEndsALeak) {
  absl::StatusOr<std::unique_ptr<TestCgroup>> group = TestCgroup::Create("emptied");
  ASSERT_TRUE(group.ok()) << group.status();
  const absl::StatusOr<pid_t> child = (*group)->Spawn([] {
    while (true) pause();
    return 0;
  });
  ASSERT_TRUE(child.ok());
  const v1::FaultSpec spec = Any("mem.leak", "leak", (*group)->path());
  ASSERT_TRUE(injector_.Inject(spec).ok());
  SleepMs(600);
  EXPECT_EQ(injector_.Find(spec.id()).phase(), v1::PHASE_VERIFIED);
  kill(*child, SIGKILL);
  (*group)->Wait(*child);
  const std::int64_t ended_ns = Clock::System().Now().boottime_ns;
  const v1::FaultState ended = injector_.WaitForEnd(spec.id(), 5);
  EXPECT_EQ(ended.phase(), v1::PHASE_INTERFERED);
  EXPECT_TRUE(
      absl::StartsWith(ended.reason(), "the target ended: no process but the helper is left in "))
      << ended.reason();
  EXPECT_LT(ended.edges().undone().boottime_ns() - ended_ns, kNsPerSecond);
  EXPECT_TRUE(ended.dose_complete());
  EXPECT_EQ(ended.dose(0).value(), 4 << 20);
  EXPECT_EQ(CountHelpers(Id("")), 0);
}

// Of a group that is still empty nobody has ended yet.
TEST_F(Target, EmptyGroupKeepsALeak) {
  const v1::FaultSpec spec = Any("mem.leak", "leak", group_->path());
  ASSERT_TRUE(injector_.Inject(spec).ok());
  SleepMs(800);
  EXPECT_EQ(injector_.Find(spec.id()).phase(), v1::PHASE_VERIFIED);
  EXPECT_TRUE(injector_.Stop(spec.id()).ok());
}

TEST_F(Target, SecondFaultOfEachTypeIsRefused_NamingTheFirst) {
  for (const char* type : {"cpu.limit", "process.pause", "mem.leak", "net.loss", "net.rate"}) {
    SCOPED_TRACE(type);
    const std::string tag = Tag(type);
    const v1::FaultSpec first = Any(type, tag + "1", group_->path());
    ASSERT_TRUE(injector_.Inject(first).ok());
    const absl::Status refused = injector_.Inject(Any(type, tag + "2", group_->path())).status();
    EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
    EXPECT_TRUE(absl::StartsWith(refused.message(),
                                 absl::StrCat("fault ", first.id(), " (", type, ", until ")))
        << refused;
    EXPECT_TRUE(absl::StrContains(
        refused.message(), absl::StrCat("end it with `faultline stop ", first.id(), "`, or wait")))
        << refused;
    ASSERT_TRUE(injector_.Stop(first.id()).ok());
  }
}

TEST_F(Target, ProtectedGroupIsRefused_AsNotAllowedHere) {
  ASSERT_EQ(injector_.End(SIGTERM), 0);
  injector_.SetOptions({"--protect-cgroup", group_->path()});
  ASSERT_TRUE(injector_.Start().ok());
  const absl::Status refused = injector_.Inject(Any("cpu.limit", "c", group_->path())).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_TRUE(absl::StrContains(refused.message(), "this host's owner protects"));
}

TEST_F(Target, UnitWithoutSystemdIsRefused_AndSaysWhatToName) {
  if (SystemdRuns()) GTEST_SKIP() << "systemd is the init here; tests/vm has faults on its units";
  v1::FaultSpec spec = Any("cpu.limit", "u", "");
  spec.mutable_target()->set_unit("nginx.service");
  const absl::Status refused = injector_.Inject(spec).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_EQ(
      refused.message(),
      "there is no unit nginx.service: systemd is not the init of this host; name the control "
      "group instead (cgroup:/PATH), or a process in it (pid:NUMBER)");
}

// gRPC would take the socket over, or write lines of its own.
TEST_F(Target, TakenSocketIsOneSentence) {
  const std::string state = injector_.folder() / "other";
  const std::string run = injector_.folder() / "run";
  const size_t before = injector_.Log().size();
  EXPECT_EQ(injector_.Run({"--state-dir", state, "--run-dir", run}), 1);
  const std::string said = injector_.Log().substr(before);
  EXPECT_TRUE(absl::StartsWith(said, absl::StrCat("error: another process listens on ", run)))
      << said;
  EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << said;
  // The first one still answers.
  ASSERT_TRUE(injector_.Inject(Any("sham", "s", group_->path())).ok());
  ASSERT_TRUE(injector_.Stop(Id("s")).ok());
}

}  // namespace
}  // namespace faultline
