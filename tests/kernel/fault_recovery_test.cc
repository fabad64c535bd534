// SPDX-License-Identifier: Apache-2.0
//
// The real injector is killed at a random moment of each fault's life, 20 times; then `--undo` or
// the next start brings the host back to what it was. Also its other ends: SIGTERM, a halt, a
// second copy, the sockets' modes.
#include <grp.h>
#include <sys/stat.h>

#include <map>
#include <random>

#include "absl/strings/match.h"
#include "tests/kernel/fault_network.h"
#include "tests/kernel/test_disk.h"

namespace faultline {
namespace {

constexpr int kKills = 20;
constexpr std::int64_t kMomentNs = 200 * kNsPerMs;

// On a network and a bpffs of its own, so that network faults have a device and their exact dose.
class Recovery : public NetFaultTest {
 protected:
  v1::FaultSpec Any(const std::string& type, const std::string& name) const {
    v1::FaultSpec spec = Spec(type, name, 30);
    if (type == "cpu.limit") (*spec.mutable_parameters())["cpus"] = "0.5";
    if (type == "cpu.load") (*spec.mutable_parameters())["cpus"] = "0.5";
    // A child of the test handles that one.
    if (type == "process.kill") (*spec.mutable_parameters())["signal"] = "USR1";
    if (type == "mem.leak") (*spec.mutable_parameters())["bytes"] = "8MiB";
    if (type == "mem.limit") (*spec.mutable_parameters())["bytes"] = "64MiB";
    if (type == "io.limit") {
      (*spec.mutable_parameters())["device"] = TestFile::DiskOf("/var/tmp");
      (*spec.mutable_parameters())["read"] = "1MiB/s";
    }
    if (type == "net.loss") (*spec.mutable_parameters())["loss"] = "50%";
    if (type == "net.rate") (*spec.mutable_parameters())["rate"] = "10mbit";
    if (type == "net.rate") {
      (*spec.mutable_parameters())["device"] = TestNetwork::kHereDevice;
    }
    if (type == "net.delay") {
      (*spec.mutable_parameters())["delay"] = "20ms";
      (*spec.mutable_parameters())["device"] = TestNetwork::kHereDevice;
    }
    if (absl::StartsWith(type, "sham.")) {
      spec.set_type("sham");
      (*spec.mutable_parameters())["mechanism"] = type.substr(5);
      if (type == "sham.plane") {
        (*spec.mutable_parameters())["device"] = TestNetwork::kHereDevice;
      }
    }
    return spec;
  }

  // Why this host cannot have faults of `type`; empty: it can.
  std::string Missing(const std::string& type) {
    grpc::ClientContext context;
    v1::Capabilities capabilities;
    EXPECT_TRUE(injector_.root().GetCapabilities(&context, {}, &capabilities).ok());
    for (const v1::FaultInfo& info : capabilities.faults()) {
      if (info.type() == type) {
        return info.availability() == v1::AVAILABILITY_MISSING ? info.reason() : "";
      }
    }
    return absl::StrCat("there is no ", type);
  }

  // How long a whole Start takes here: 5 ms on a host, over 100 in an emulated guest beside others.
  std::int64_t StartNs(const std::string& type) {
    const v1::FaultSpec spec = Any(type, "whole");
    const std::int64_t begun_ns = Clock::System().Now().boottime_ns;
    const absl::StatusOr<v1::FaultState> started = injector_.Inject(spec);
    const std::int64_t took_ns = Clock::System().Now().boottime_ns - begun_ns;
    EXPECT_TRUE(started.ok()) << started.status();
    const absl::StatusOr<v1::FaultState> stopped = injector_.Stop(spec.id());
    EXPECT_TRUE(stopped.ok()) << stopped.status();
    EXPECT_EQ(injector_.WaitForEnd(spec.id(), 10).phase(), v1::PHASE_UNDONE);
    return took_ns;
  }

  // Kills the injector between nothing and several whole Starts, so that some kills hit the middle
  // of it and some the fault in force; in every other four the undo is a new injector's, not
  // --undo.
  void KillAtRandom(const std::string& type) {
    const std::int64_t start_ns = StartNs(type);
    // A helper sees the end of its pipe a moment after the death.
    const bool helper = type == "mem.leak" || type == "cpu.load" || type == "sham.helper";
    const std::int64_t moment_ns = helper ? kMomentNs : 0;
    const bool outlives = type == "cpu.limit" || type == "mem.limit" || type == "io.limit" ||
                          type == "process.pause" || type == "sham" || type == "sham.freezer";
    const unsigned seed = std::random_device()();
    std::printf("seed %u, a whole start %.1f ms\n", seed, static_cast<double>(start_ns) / 1e6);
    std::mt19937 random(seed);
    int hit_before_ack = 0;
    for (int i = 0; i < kKills; ++i) {
      SCOPED_TRACE(absl::StrCat(type, " kill ", i));
      const v1::FaultSpec spec = Any(type, absl::StrCat("k", i));
      const std::int64_t latest_ns = i % 4 == 3   ? std::max(200 * kNsPerMs, 8 * start_ns)
                                     : i % 4 == 1 ? std::max(40 * kNsPerMs, 2 * start_ns)
                                                  : std::max(8 * kNsPerMs, start_ns);
      const auto delay = std::chrono::microseconds(random() % (latest_ns / 1000));
      absl::StatusOr<v1::FaultState> started = absl::UnknownError("not called");
      std::thread caller([&] { started = injector_.Inject(spec); });
      std::this_thread::sleep_for(delay);
      const Killed killed = Kill();
      caller.join();
      hit_before_ack += started.ok() ? 0 : 1;
      // By the death; nothing else refuses it.
      EXPECT_TRUE(started.ok() || absl::IsUnavailable(started.status()) ||
                  absl::IsCancelled(started.status()))
          << started.status();
      // Not by the parity that chooses the moment: each way meets each.
      if (i / 4 % 2 == 0) {
        EXPECT_EQ(injector_.Undo(), 0);
      }
      ASSERT_TRUE(injector_.Start().ok());
      // Helpers end by themselves with the pipe, a moment after it.
      ASSERT_EQ(Digest(), before_);
      const v1::FaultState state = injector_.Find(spec.id());
      EXPECT_TRUE(state.phase() == v1::PHASE_UNSPECIFIED || state.phase() == v1::PHASE_UNDONE)
          << state.ShortDebugString();
      if (state.phase() == v1::PHASE_UNSPECIFIED) {
        EXPECT_FALSE(started.ok()) << "acknowledged, and forgotten";
        continue;
      }
      ExpectEdgesInOrder(state);
      if (!started.ok()) continue;
      EXPECT_TRUE(type == "process.kill" || state.reason() == "the injector died");
      // Of those that live on nobody saw the end.
      EXPECT_EQ(state.dose_complete(), type != "process.kill") << state.reason();
      // What outlives the process ended when it was restored, the rest when it died.
      if (outlives) {
        const v1::Edge& undone = state.edges().undone();
        EXPECT_GE(undone.boottime_ns() - undone.error_ns(), killed.end_ns);
      } else {
        ExpectUndoneCovers(state, {killed.begin_ns, killed.end_ns + moment_ns});
      }
    }
    std::printf("%s: %d of %d kills came before the ack\n", type.c_str(), hit_before_ack, kKills);
    EXPECT_LT(hit_before_ack, kKills) << "none met the fault in force";
  }
};

TEST_F(Recovery, OfCpuLimit_AfterAKillAtARandomMoment) { KillAtRandom("cpu.limit"); }
TEST_F(Recovery, OfCpuLoad_AfterAKillAtARandomMoment) { KillAtRandom("cpu.load"); }
TEST_F(Recovery, OfMemLimit_AfterAKillAtARandomMoment) { KillAtRandom("mem.limit"); }
TEST_F(Recovery, OfIoLimit_AfterAKillAtARandomMoment) {
  if (TestFile::DiskOf("/var/tmp").empty()) GTEST_SKIP() << "/var/tmp is on no block device";
  KillAtRandom("io.limit");
}
TEST_F(Recovery, OfProcessPause_AfterAKillAtARandomMoment) {
  const Spinner spinner(group_.get());
  KillAtRandom("process.pause");
  EXPECT_TRUE(spinner.GetsOn());
}
TEST_F(Recovery, OfProcessKill_AfterAKillAtARandomMoment) {
  const auto child = group_->Spawn([] {
    signal(SIGUSR1, SIG_IGN);
    while (true) pause();
    return 0;
  });
  ASSERT_TRUE(child.ok());
  SleepMs(50);
  KillAtRandom("process.kill");
  EXPECT_EQ(waitpid(*child, nullptr, WNOHANG), 0) << "it lives";
}
TEST_F(Recovery, OfMemLeak_AfterAKillAtARandomMoment) {
  const std::int64_t before = MemoryUsage();
  KillAtRandom("mem.leak");
  EXPECT_LT(MemoryUsage() - before, 1 << 20);
}
TEST_F(Recovery, OfSham_AfterAKillAtARandomMoment) { KillAtRandom("sham"); }
TEST_F(Recovery, OfShamByHelper_AfterAKillAtARandomMoment) { KillAtRandom("sham.helper"); }

TEST_F(Recovery, OfShamByFreezer_AfterAKillAtARandomMoment) {
  const Spinner spinner(group_.get());
  KillAtRandom("sham.freezer");
  EXPECT_TRUE(spinner.GetsOn());
}
TEST_F(Recovery, OfShamByProcess_AfterAKillAtARandomMoment) {
  const Spinner spinner(group_.get());
  KillAtRandom("sham.process");
  EXPECT_TRUE(spinner.GetsOn());
}
TEST_F(Recovery, OfShamByPlane_AfterAKillAtARandomMoment) { KillAtRandom("sham.plane"); }
TEST_F(Recovery, OfShamByLink_AfterAKillAtARandomMoment) { KillAtRandom("sham.link"); }
TEST_F(Recovery, OfNetLoss_AfterAKillAtARandomMoment) { KillAtRandom("net.loss"); }
TEST_F(Recovery, OfNetRate_AfterAKillAtARandomMoment) { KillAtRandom("net.rate"); }
TEST_F(Recovery, OfNetDelay_AfterAKillAtARandomMoment) {
  if (const std::string why = Missing("net.delay"); !why.empty()) GTEST_SKIP() << why;
  KillAtRandom("net.delay");
}

// All on one target at once, with a deaf helper: stopped, it sees no end of its pipe.
TEST_F(Recovery, OfFaultsTogether_WithAHelperThatIsStopped) {
  const Spinner spinner(group_.get());
  for (const char* type : {"cpu.limit", "mem.leak", "process.pause"}) {
    const auto started = injector_.Inject(Any(type, std::string(type).substr(0, 3)));
    ASSERT_TRUE(started.ok()) << started.status();
  }
  const std::vector<pid_t> helpers = Helpers(Id(""));
  ASSERT_EQ(helpers.size(), 1u);
  kill(helpers[0], SIGSTOP);
  injector_.End(SIGKILL);
  SleepMs(100);
  EXPECT_NE(Digest(), before_);
  EXPECT_EQ(injector_.Undo(), 0);
  EXPECT_EQ(Digest(), before_);
  const size_t before = injector_.Log().size();
  EXPECT_EQ(injector_.Undo(), 0) << "undo is legal any number of times";
  EXPECT_EQ(injector_.Log().substr(before), "nothing to undo\n");
  ASSERT_TRUE(injector_.Start().ok());
}

TEST_F(Recovery, SigtermUndoesEverything) {
  ASSERT_TRUE(injector_.Inject(Any("cpu.limit", "a")).ok());
  ASSERT_TRUE(injector_.Inject(Any("mem.leak", "b")).ok());
  EXPECT_EQ(injector_.End(SIGTERM), 0);
  EXPECT_EQ(Digest(), before_);
  // Those that it keeps while it lives went with it.
  EXPECT_EQ(LinkDigest(0, devices_, true), "");
}

TEST_F(Recovery, UndoOfAWrongFolderSaysSo_AndMakesNothing) {
  const std::string wrong = injector_.folder() / "wrong";
  const size_t before = injector_.Log().size();
  EXPECT_EQ(injector_.Run({"--undo", "--state-dir", wrong, "--run-dir", wrong + "-run"}), 2);
  EXPECT_EQ(injector_.Log().substr(before),
            absl::StrCat("error: there is no journal in ", wrong,
                         ": nothing was undone; is --state-dir right?\n"));
  EXPECT_FALSE(std::filesystem::exists(wrong));
  EXPECT_FALSE(std::filesystem::exists(wrong + "-run"));
}

TEST_F(Recovery, ASecondInjectorIsRefused) { EXPECT_EQ(injector_.Undo(), 1) << "it is running"; }

TEST_F(Recovery, HaltIsReleasedOnlyOnRootsSocket) {
  ASSERT_TRUE(injector_.Inject(Any("cpu.limit", "a")).ok());
  {
    grpc::ClientContext context;
    v1::HaltRequest request;
    request.set_reason("test");
    v1::HaltResponse response;
    ASSERT_TRUE(injector_.agent().Halt(&context, request, &response).ok());
    EXPECT_EQ(response.ended_size(), 1);
  }
  EXPECT_EQ(Digest(), before_);
  injector_.End(SIGKILL);
  ASSERT_TRUE(injector_.Start().ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(injector_.Inject(Any("sham", "b")).status()));
  {
    grpc::ClientContext context;
    v1::ReleaseResponse response;
    EXPECT_EQ(injector_.agent().Release(&context, {}, &response).error_code(),
              grpc::StatusCode::PERMISSION_DENIED);
  }
  grpc::ClientContext context;
  v1::ReleaseResponse response;
  ASSERT_TRUE(injector_.root().Release(&context, {}, &response).ok());
  EXPECT_TRUE(response.was_halted());
  EXPECT_TRUE(injector_.Inject(Any("sham", "c")).ok());
  ASSERT_TRUE(injector_.Stop(Id("c")).ok());
}

TEST_F(Recovery, SocketsKeepOthersOut) {
  struct stat info {};
  ASSERT_EQ(stat((injector_.folder() / "run/root.sock").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0077, 0u);
  ASSERT_EQ(stat((injector_.folder() / "run/agent.sock").c_str(), &info), 0);
  const bool shared = getgrnam("faultline") != nullptr;
  EXPECT_EQ(info.st_mode & 0007, 0u);
  EXPECT_EQ(info.st_mode & 0070, shared ? 0060u : 0u);
}

TEST_F(Recovery, AWatcherSeesEveryPhase) {
  grpc::ClientContext context;
  const auto stream = injector_.agent().Watch(&context, {});
  std::vector<v1::Phase> phases;
  std::thread reader([&] {
    v1::FaultState state;
    while (phases.size() < 6 && stream->Read(&state)) phases.push_back(state.phase());
  });
  // The stream is served once its first metadata is; a fault before that would come as List's.
  SleepMs(200);
  ASSERT_TRUE(injector_.Inject(Any("sham", "w")).ok());
  ASSERT_TRUE(injector_.Stop(Id("w")).ok());
  reader.join();
  context.TryCancel();
  EXPECT_EQ(phases,
            (std::vector<v1::Phase>{v1::PHASE_ACCEPTED, v1::PHASE_JOURNALED, v1::PHASE_APPLIED,
                                    v1::PHASE_VERIFIED, v1::PHASE_UNDOING, v1::PHASE_UNDONE}));
}

}  // namespace
}  // namespace faultline
