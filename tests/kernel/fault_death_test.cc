// SPDX-License-Identifier: Apache-2.0
//
// What is told of a fault whose injector was killed is true: its dose is what an independent count
// says, or it is said to be less and why; its edges are in order, and `undone` with its error holds
// the moment at which the effect really ended.
#include <map>

#include "absl/strings/str_split.h"
#include "tests/kernel/fault_network.h"

namespace faultline {
namespace {

std::int64_t Now() { return Clock::System().Now().boottime_ns; }

class NetDeath : public NetFaultTest {
 protected:
  v1::FaultSpec Loss(const std::string& name, const std::string& loss, double seconds) const {
    v1::FaultSpec spec = Spec("net.loss", name, seconds);
    (*spec.mutable_parameters())["loss"] = loss;
    (*spec.mutable_parameters())["device"] = TestNetwork::kHereDevice;
    return spec;
  }

  // Sends in both directions for `ms`, about 4,000 a second.
  static void SendFor(Flow& in, Flow& out, int ms) {
    const std::int64_t end_ns = Now() + ms * kNsPerMs;
    while (Now() < end_ns) {
      in.Send();
      out.Send();
      std::this_thread::sleep_for(std::chrono::microseconds(400));
    }
  }

  // A loss in both directions whose injector is killed in the middle of the traffic. Returns the
  // moment of the kill.
  Killed LoseUntilKilled(const v1::FaultSpec& spec, Flow& in, Flow& out) {
    SendFor(in, out, 50);
    const auto started = injector_.Inject(spec);
    EXPECT_TRUE(started.ok()) << started.status();
    // Well into the second after a commit, so that the journal alone would not do.
    SendFor(in, out, 1600);
    Killed killed;
    std::thread killer([&] {
      SleepMs(20);
      killed = Kill();
    });
    SendFor(in, out, 300);
    killer.join();
    in.Drain();
    out.Drain();
    return killed;
  }

  void ExpectExact(const v1::FaultState& state, const Flow& in, const Flow& out) {
    EXPECT_EQ(state.phase(), v1::PHASE_UNDONE);
    EXPECT_EQ(state.reason(), "the injector died");
    EXPECT_TRUE(state.dose_complete());
    ASSERT_GT(state.dose_size(), 0);
    EXPECT_EQ(state.dose(0).name(), "packets_dropped");
    EXPECT_EQ(state.dose(0).value(), in.Lost() + out.Lost());
    std::printf("lost by the sender's count: %lld in, %lld out of %u each; dose %lld\n",
                static_cast<long long>(in.Lost()), static_cast<long long>(out.Lost()), in.sent,
                static_cast<long long>(state.dose(0).value()));
    EXPECT_GT(in.Lost(), 100);
    EXPECT_GT(out.Lost(), 100);
    // A packet meets the program a moment after the sender read its clock.
    constexpr std::int64_t kOnItsWay = 50 * kNsPerMs;
    const std::int64_t first_ns = std::min(in.FirstLostNs(), out.FirstLostNs());
    const std::int64_t last_ns = std::max(in.LastLostNs(), out.LastLostNs());
    const v1::Edges& edges = state.edges();
    EXPECT_GE(edges.first_touch().boottime_ns(), first_ns);
    EXPECT_LT(edges.first_touch().boottime_ns() - first_ns, kOnItsWay);
    EXPECT_GE(edges.last_touch().boottime_ns(), last_ns);
    EXPECT_LT(edges.last_touch().boottime_ns() - last_ns, kOnItsWay);
    EXPECT_EQ(edges.last_touch().error_ns(), 0) << "the program's own stamp";
    ExpectEdgesInOrder(state);
  }
};

TEST_F(NetDeath, DoseOfALoss_IsWhatTheSenderMisses) {
  for (const char* loss : {"100%", "30%"}) {
    SCOPED_TRACE(loss);
    Flow in = MakeFlow(false);
    Flow out = MakeFlow(true);
    const v1::FaultSpec spec = Loss(std::string("l") + loss[0], loss, 30);
    const Killed killed = LoseUntilKilled(spec, in, out);
    EXPECT_FALSE(bpffs_->Empty());
    ASSERT_TRUE(injector_.Start().ok());
    EXPECT_TRUE(bpffs_->Empty());
    const v1::FaultState state = injector_.Find(spec.id());
    ExpectExact(state, in, out);
    ExpectUndoneCovers(state, killed);
    // It was read before that, and last touched a moment before the kill.
    EXPECT_LT(state.edges().undone().boottime_ns() - state.edges().undone().error_ns() -
                  state.edges().last_touch().boottime_ns(),
              kNsPerMs);
  }
}

// By --undo, which dies as well, and then by the next start.
TEST_F(NetDeath, DoseOfALoss_OutlivesADeathDuringTheUndo) {
  Flow in = MakeFlow(false);
  Flow out = MakeFlow(true);
  const v1::FaultSpec spec = Loss("l", "50%", 30);
  LoseUntilKilled(spec, in, out);
  for (int i = 0; i < 10; ++i) {
    injector_.KillAnUndoAfter(15'000 + 2'000 * i);
  }
  ASSERT_TRUE(injector_.Start().ok());
  ExpectExact(injector_.Find(spec.id()), in, out);
}

TEST_F(NetDeath, LossEndedAtItsDeadline_WhenNobodyCameBackBefore) {
  Flow in = MakeFlow(false);
  Flow out = MakeFlow(true);
  const v1::FaultSpec spec = Loss("l", "100%", 2.5);
  const Killed killed = LoseUntilKilled(spec, in, out);
  SleepMs(1000);
  ASSERT_TRUE(injector_.Start().ok());
  const v1::FaultState state = injector_.Find(spec.id());
  ExpectExact(state, in, out);
  EXPECT_EQ(state.edges().undone().boottime_ns(), state.deadline_boottime_ns());
  ExpectUndoneCovers(state, killed);
}

TEST_F(NetDeath, DoseOfALoss_IsSaidToBeALowerBound_WithoutABpffs) {
  RestartWithoutBpffs();
  EXPECT_NE(injector_.Log().find("warning: no dose ledger: /proc is no bpffs"), std::string::npos);
  {
    grpc::ClientContext context;
    v1::Capabilities capabilities;
    ASSERT_TRUE(injector_.root().GetCapabilities(&context, {}, &capabilities).ok());
    for (const v1::FaultInfo& info : capabilities.faults()) {
      // What this kernel lacks altogether is no matter of a bpffs.
      if (info.type() == "net.delay" && info.availability() == v1::AVAILABILITY_MISSING) continue;
      const bool net = absl::StartsWith(info.type(), "net.");
      EXPECT_EQ(info.availability(), net ? v1::AVAILABILITY_DEGRADED : v1::AVAILABILITY_AVAILABLE);
      EXPECT_EQ(absl::StrContains(info.reason(), "lower bound"), net) << info.reason();
    }
  }
  Flow in = MakeFlow(false);
  Flow out = MakeFlow(true);
  const v1::FaultSpec spec = Loss("l", "100%", 30);
  const Killed killed = LoseUntilKilled(spec, in, out);
  ASSERT_TRUE(injector_.Start().ok());
  const v1::FaultState state = injector_.Find(spec.id());
  EXPECT_EQ(state.phase(), v1::PHASE_UNDONE);
  EXPECT_FALSE(state.dose_complete());
  EXPECT_TRUE(
      absl::StartsWith(state.reason(), "the injector died; its dose is a lower bound, of at most "))
      << state.reason();
  EXPECT_TRUE(absl::EndsWith(state.reason(),
                             " before the end: no bpffs kept what the BPF program counted"));
  ASSERT_GT(state.dose_size(), 0);
  EXPECT_GT(state.dose(0).value(), 0);
  EXPECT_LT(state.dose(0).value(), in.Lost() + out.Lost());
  EXPECT_LT(killed.begin_ns - state.read_boottime_ns(), 2 * kNsPerSecond);
  ExpectUndoneCovers(state, killed);
  ExpectEdgesInOrder(state);
}

TEST_F(NetDeath, DoseOfARate_IsWhatTheTargetSent) {
  Flow out = MakeFlow(true);
  v1::FaultSpec spec = Spec("net.rate", "r", 30);
  (*spec.mutable_parameters())["rate"] = "100mbit";
  (*spec.mutable_parameters())["device"] = TestNetwork::kHereDevice;
  ASSERT_TRUE(injector_.Inject(spec).ok());
  const auto send_for = [&](int ms) {
    const std::int64_t end_ns = Now() + ms * kNsPerMs;
    for (; Now() < end_ns; std::this_thread::sleep_for(std::chrono::microseconds(400))) out.Send();
  };
  send_for(1600);
  const std::uint32_t sent = out.sent;
  const Killed killed = Kill();
  // A packet from here on goes past the class.
  SleepMs(50);
  send_for(200);
  ASSERT_TRUE(injector_.Start().ok());
  out.Drain();
  EXPECT_EQ(out.Lost(), 0);
  const v1::FaultState state = injector_.Find(spec.id());
  EXPECT_EQ(state.reason(), "the injector died");
  EXPECT_TRUE(state.dose_complete());
  std::map<std::string, std::int64_t> dose;
  for (const v1::Dose& one : state.dose()) dose[one.name()] = one.value();
  EXPECT_EQ(state.dose(0).name(), "packets_shaped");
  EXPECT_EQ(dose["packets_shaped"], sent);
  EXPECT_EQ(dose["packets_steered"], sent);
  ExpectUndoneCovers(state, killed);
  ExpectEdgesInOrder(state);
}

// The class outlives the injector, so what passed it is exact; only what the program alone knows is
// not.
TEST_F(NetDeath, DoseOfARate_SaysExactlyWhatIsMissing_WithoutABpffs) {
  RestartWithoutBpffs();
  Flow out = MakeFlow(true);
  v1::FaultSpec spec = Spec("net.rate", "r", 30);
  (*spec.mutable_parameters())["rate"] = "100mbit";
  (*spec.mutable_parameters())["device"] = TestNetwork::kHereDevice;
  ASSERT_TRUE(injector_.Inject(spec).ok());
  const std::int64_t end_ns = Now() + 1600 * kNsPerMs;
  for (; Now() < end_ns; std::this_thread::sleep_for(std::chrono::microseconds(400))) out.Send();
  const Killed killed = Kill();
  ASSERT_TRUE(injector_.Start().ok());
  out.Drain();
  EXPECT_EQ(out.Lost(), 0);
  const v1::FaultState state = injector_.Find(spec.id());
  EXPECT_FALSE(state.dose_complete());
  EXPECT_TRUE(absl::StartsWith(state.reason(),
                               "the injector died; its dose is exact but for packets_steered, "
                               "buffers_steered and the touches, which are of at most "))
      << state.reason();
  EXPECT_TRUE(
      absl::EndsWith(state.reason(), " before the end: no bpffs kept what the BPF program counted"))
      << state.reason();
  std::map<std::string, std::int64_t> dose;
  for (const v1::Dose& one : state.dose()) dose[one.name()] = one.value();
  EXPECT_EQ(dose["packets_shaped"], out.sent);
  EXPECT_GT(dose["packets_steered"], 0);
  EXPECT_LT(dose["packets_steered"], out.sent);
  ExpectUndoneCovers(state, killed);
  ExpectEdgesInOrder(state);
}

class Death : public FaultTest {
 protected:
  // The throttled time of the group as the kernel says it, ns.
  std::int64_t ThrottledNs() const {
    const std::string text = group_->Read("cpu", "cpu.stat");
    for (absl::string_view line : absl::StrSplit(text, '\n')) {
      std::int64_t value = 0;
      if (absl::ConsumePrefix(&line, "throttled_time ") && absl::SimpleAtoi(line, &value)) {
        return value;
      }
      if (absl::ConsumePrefix(&line, "throttled_usec ") && absl::SimpleAtoi(line, &value)) {
        return value * 1000;
      }
    }
    return -1;
  }
};

// The quota stays, and so does what it does, until the restore.
TEST_F(Death, DoseOfALimit_IsWhatCpuStatSays) {
  const Spinner spinner(group_.get());
  v1::FaultSpec spec = Spec("cpu.limit", "c", 30);
  (*spec.mutable_parameters())["cpus"] = "0.1";
  const std::int64_t before_ns = ThrottledNs();
  ASSERT_TRUE(injector_.Inject(spec).ok());
  SleepMs(500);
  Kill();
  SleepMs(1500);
  const std::int64_t while_dead_ns = ThrottledNs();
  const std::int64_t back_ns = Now();
  ASSERT_TRUE(injector_.Start().ok());
  const v1::FaultState state = injector_.Find(spec.id());
  EXPECT_EQ(state.reason(), "the injector died");
  EXPECT_TRUE(state.dose_complete());
  EXPECT_EQ(state.dose(0).value(), ThrottledNs() - before_ns);
  EXPECT_GT(while_dead_ns - before_ns, kNsPerSecond);
  EXPECT_GE(state.edges().undone().boottime_ns() - state.edges().undone().error_ns(), back_ns)
      << "its error is the restore's own time";
  EXPECT_GE(state.edges().last_touch().boottime_ns(), back_ns);
  ExpectEdgesInOrder(state);
}

TEST_F(Death, DoseOfAPause_LastsUntilTheThaw) {
  const Spinner spinner(group_.get());
  ASSERT_TRUE(spinner.GetsOn());
  ASSERT_TRUE(injector_.Inject(Spec("process.pause", "p", 30)).ok());
  const std::int64_t rounds = spinner.rounds();
  Kill();
  SleepMs(1000);
  EXPECT_EQ(spinner.rounds(), rounds);
  const std::int64_t back_ns = Now();
  ASSERT_TRUE(injector_.Start().ok());
  EXPECT_TRUE(spinner.GetsOn());
  const v1::FaultState state = injector_.Find(Id("p"));
  EXPECT_EQ(state.reason(), "the injector died");
  EXPECT_TRUE(state.dose_complete());
  const v1::Edges& edges = state.edges();
  EXPECT_EQ(state.dose(0).value(),
            edges.last_touch().boottime_ns() - edges.first_touch().boottime_ns());
  EXPECT_GE(edges.undone().boottime_ns() - edges.undone().error_ns(), back_ns);
  EXPECT_GE(edges.last_touch().boottime_ns(), back_ns);
  ExpectEdgesInOrder(state);
}

// The helper ends with the injector's pipe, and says in its report when.
TEST_F(Death, DoseOfALeak_IsWhatTheHelperHeld) {
  const std::int64_t before = MemoryUsage();
  v1::FaultSpec spec = Spec("mem.leak", "m", 30);
  (*spec.mutable_parameters())["bytes"] = "512MiB";
  (*spec.mutable_parameters())["rate"] = "32MiB/s";
  ASSERT_TRUE(injector_.Inject(spec).ok());
  SleepMs(1600);
  const std::int64_t held = MemoryUsage() - before;
  const Killed killed = Kill();
  SleepMs(700);
  EXPECT_LT(MemoryUsage() - before, 1 << 20) << "it ended by itself";
  ASSERT_TRUE(injector_.Start().ok());
  const v1::FaultState state = injector_.Find(spec.id());
  EXPECT_EQ(state.reason(), "the injector died");
  EXPECT_TRUE(state.dose_complete());
  EXPECT_NEAR(static_cast<double>(state.dose(0).value()), static_cast<double>(held), 3e6);
  const v1::Edge& undone = state.edges().undone();
  // It sees the end of its pipe a moment after the death.
  ExpectUndoneCovers(state, {killed.begin_ns, killed.end_ns + 200 * kNsPerMs});
  EXPECT_LT(undone.boottime_ns() - killed.begin_ns, 500 * kNsPerMs) << "not when it was found";
  EXPECT_LT(undone.error_ns(), 500 * kNsPerMs);
  ExpectEdgesInOrder(state);
}

// One that is frozen does not see the end of its pipe, and holds on until it is killed.
TEST_F(Death, LeakOfAFrozenHelper_EndsAtTheUndo) {
  absl::StatusOr<std::unique_ptr<TestCgroup>> icebox = TestCgroup::Create("icebox");
  ASSERT_TRUE(icebox.ok()) << icebox.status();
  v1::FaultSpec spec = Spec("mem.leak", "m", 30);
  (*spec.mutable_parameters())["bytes"] = "8MiB";
  ASSERT_TRUE(injector_.Inject(spec).ok());
  SleepMs(300);
  const std::vector<pid_t> helpers = Helpers(Id(""));
  ASSERT_EQ(helpers.size(), 1u);
  if (!(*icebox)->Write("freezer", "freezer.state", "THAWED").ok()) {
    ASSERT_EQ(injector_.End(SIGTERM), 0);
    ASSERT_TRUE(injector_.Start().ok());
    GTEST_SKIP() << "on cgroup v2 a helper cannot be frozen outside its memory group";
  }
  ASSERT_TRUE((*icebox)->Write("freezer", "cgroup.procs", absl::StrCat(helpers[0])).ok());
  ASSERT_TRUE((*icebox)->Write("freezer", "freezer.state", "FROZEN").ok());
  Kill();
  SleepMs(500);
  EXPECT_EQ(CountHelpers(Id("")), 1);
  const std::int64_t back_ns = Now();
  ASSERT_TRUE(injector_.Start().ok());
  const v1::FaultState state = injector_.Find(spec.id());
  EXPECT_EQ(state.dose(0).value(), 8 << 20);
  EXPECT_TRUE(state.dose_complete());
  EXPECT_GE(state.edges().undone().boottime_ns() - state.edges().undone().error_ns(), back_ns);
  ExpectEdgesInOrder(state);
}

}  // namespace
}  // namespace faultline
