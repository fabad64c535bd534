// SPDX-License-Identifier: Apache-2.0
//
// net.delay on the fake machine: what is refused, the levels of its shapes, and an end for which
// packets are steered until nothing waits, while other deadlines are kept.
#include <gtest/gtest.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "injector/host/class_leaf.h"
#include "tests/injector/controller_fixture.h"

namespace faultline {
namespace {

constexpr std::int64_t kDelayNs = 50 * kNsPerMs;

class NetDelay : public testing::Test {
 protected:
  static v1::FaultSpec Spec(const std::string& id, const std::string& group = "/web") {
    return ControllerWorld::Spec("net.delay", id, group);
  }
  static void Set(v1::FaultSpec* spec, const std::string& name, const std::string& value) {
    (*spec->mutable_parameters())[name] = value;
  }
  static v1::FaultSpec Pulse(std::int64_t on_ns, std::int64_t off_ns) {
    v1::FaultSpec spec = Spec("a");
    spec.mutable_shape()->set_kind(v1::SHAPE_KIND_PULSE);
    spec.mutable_shape()->set_on_ns(on_ns);
    spec.mutable_shape()->set_off_ns(off_ns);
    return spec;
  }
  // Each under an id of its own: a name that was refused is not tried again.
  std::string Refused(v1::FaultSpec spec) {
    spec.set_id(absl::StrCat("refused-", refused_++));
    const absl::StatusOr<v1::FaultState> started = world_.controller->Start(spec);
    EXPECT_FALSE(started.ok());
    return std::string(started.status().message());
  }
  void Start(const v1::FaultSpec& spec) {
    const absl::StatusOr<v1::FaultState> started = world_.controller->Start(spec);
    ASSERT_TRUE(started.ok()) << started.status();
  }
  // Of the only fault.
  Netem Leaf() const {
    EXPECT_EQ(world_.host.netems.size(), 1u);
    return world_.host.netems.empty() ? Netem{} : world_.host.netems.begin()->second;
  }

  ControllerWorld world_;
  const std::string before_ = world_.host.Digest();
  int refused_ = 0;
};

TEST_F(NetDelay, Refuses_WithWhatToDo) {
  v1::FaultSpec jitter = Spec("a");
  Set(&jitter, "jitter", "50ms");
  EXPECT_EQ(Refused(jitter),
            "jitter is 50ms; it must be less than the delay, 50ms: a packet cannot leave before it "
            "came");
  v1::FaultSpec slow = Pulse(300 * kNsPerMs, 100 * kNsPerMs);
  Set(&slow, "delay", "90ms");
  EXPECT_EQ(Refused(slow).substr(0, 42), "the time between pulses is 100ms, and what")
      << "70 ms would do";
  v1::FaultSpec device = Spec("a");
  Set(&device, "device", "lo");
  EXPECT_TRUE(absl::StrContains(Refused(device), "device lo has no standing plane"));
  Set(&device, "device", "eth7");
  EXPECT_EQ(Refused(device), "there is no network device eth7");
  world_.host.has_netem = false;
  EXPECT_EQ(Refused(Spec("a")), "this kernel has no qdisc netem");
  EXPECT_EQ(world_.levers.Probe("delay").code(), absl::StatusCode::kUnimplemented);
  EXPECT_EQ(world_.levers.Probe("rate"), absl::OkStatus());
  EXPECT_EQ(world_.host.Digest(), before_);
}

// A packet has one class, whatever that does to it.
TEST_F(NetDelay, FightsWithWhateverSteersTheSamePackets) {
  Start(Spec("a"));
  for (const char* group : {"/web", "/web/worker"}) {
    for (const char* type : {"net.rate", "net.delay"}) {
      const std::string why = Refused(ControllerWorld::Spec(type, "b", group));
      EXPECT_TRUE(absl::StrContains(why, "already changes cgroup_skb/egress steering on eth0"))
          << why;
      EXPECT_TRUE(absl::StrContains(why, "faultline stop a")) << why;
    }
  }
  Start(Spec("b", "/db"));
  Start(ControllerWorld::Spec("net.loss", "c"));
}

TEST_F(NetDelay, SetsWhatWasAsked_AndGoesWithItsDeadline) {
  v1::FaultSpec spec = Spec("a");
  Set(&spec, "jitter", "10ms");
  Start(spec);
  EXPECT_EQ(Leaf().delay_ns, kDelayNs);
  EXPECT_EQ(Leaf().jitter_ns, 10 * kNsPerMs);
  EXPECT_EQ(Leaf().limit, 100'000u) << "120,000 for a million packets per second, and bounded";
  world_.host.classes[FAULT_FIRST_CLASS].packets = 0;
  world_.Pass(10 * kNsPerSecond);
  const v1::FaultState ended = world_.Find("a");
  EXPECT_EQ(ended.phase(), v1::PHASE_UNDONE);
  EXPECT_EQ(ended.dose(0).name(), "packets_delayed");
  world_.host.classes.erase(FAULT_FIRST_CLASS);
}

// What is steered after the last that waited has left meets no delay.
TEST_F(NetDelay, ItsLastTouchIsNoLaterThanTheDelay) {
  v1::FaultSpec spec = Spec("a");
  spec.set_duration_ns(kNsPerSecond);
  Start(spec);
  const std::int64_t deadline_ns = world_.Find("a").deadline_boottime_ns();
  world_.host.first_drop_ns = deadline_ns - kNsPerSecond / 2;
  for (const auto& [handle, netem] : world_.host.netems) {
    world_.host.waits_until_ns[handle] = deadline_ns + 65 * kNsPerMs;
  }
  world_.host.last_drop_ns = deadline_ns;
  world_.Pass(deadline_ns + 20 * kNsPerMs - world_.clock.Now().boottime_ns);
  EXPECT_EQ(world_.Find("a").phase(), v1::PHASE_UNDOING);
  // The program goes on, while something waits for the device alone.
  world_.host.last_drop_ns = deadline_ns + kDelayNs + 10 * kNsPerMs;
  world_.Pass(2 * kNsPerSecond);
  const v1::FaultState ended = world_.Find("a");
  EXPECT_EQ(ended.phase(), v1::PHASE_UNDONE) << ended.ShortDebugString();
  EXPECT_EQ(ended.edges().last_touch().boottime_ns(), deadline_ns + kDelayNs);
}

// Undone one delay after its deadline, with packets steered into the queue as long as some wait in
// it, and a fault beside it that ends in between is not late.
TEST_F(NetDelay, EndsWhenNothingWaits_AndLetsOtherDeadlinesPass) {
  world_.host.busy = true;
  v1::FaultSpec spec = Spec("a");
  Set(&spec, "delay", "3s");
  Start(spec);
  v1::FaultSpec other = ControllerWorld::Spec("cpu.limit", "b");
  other.set_duration_ns(11 * kNsPerSecond);
  Start(other);
  const std::int64_t deadline_ns = world_.Find("a").deadline_boottime_ns();
  const std::uint32_t program = world_.host.links.begin()->first;
  world_.Pass(10 * kNsPerSecond - kNsPerMs);
  // Of an injector that stands still from here on the program stops as late as one may be, not a
  // delay later.
  EXPECT_EQ(world_.host.deadlines_ns[program], deadline_ns + 20 * kNsPerMs);
  EXPECT_TRUE(world_.host.steered_until_ns.empty());
  world_.Pass(2 * kNsPerMs);
  EXPECT_EQ(Leaf().delay_ns, 0) << "the effect ends at the deadline";
  EXPECT_EQ(world_.host.links.size(), 1u) << "what comes now must not overtake";
  EXPECT_GE(world_.host.steered_until_ns[program], deadline_ns + 3'020 * kNsPerMs);
  EXPECT_LE(world_.host.steered_until_ns[program], deadline_ns + 3'022 * kNsPerMs);
  EXPECT_EQ(world_.Find("a").phase(), v1::PHASE_UNDOING);
  EXPECT_EQ(world_.Find("a").residue(0), "what it held back is still on its way");
  world_.Pass(kNsPerSecond);
  EXPECT_EQ(world_.Find("b").phase(), v1::PHASE_UNDONE);
  const v1::Edges other_edges = world_.Find("b").edges();
  EXPECT_LE(other_edges.undone().boottime_ns() - world_.Find("b").deadline_boottime_ns(),
            5 * kNsPerMs);
  EXPECT_EQ(world_.Find("a").phase(), v1::PHASE_UNDOING);
  world_.Pass(3 * kNsPerSecond);
  const v1::FaultState ended = world_.Find("a");
  EXPECT_EQ(ended.phase(), v1::PHASE_UNDONE);
  EXPECT_TRUE(ended.residue().empty());
  EXPECT_GE(ended.edges().undone().boottime_ns(), deadline_ns + 3 * kNsPerSecond);
  EXPECT_LE(ended.edges().undone().boottime_ns(), deadline_ns + 3'020 * kNsPerMs);
  EXPECT_EQ(world_.host.lost_packets, 0);
  EXPECT_EQ(world_.host.Digest(), before_);
}

// Before its deadline, when the program goes on for longer than that by itself, and close to it.
TEST_F(NetDelay, StoppedBeforeItsDeadline_ItGoesOnAsLongAsSomethingWaits) {
  for (const std::int64_t before_ns : {5 * kNsPerSecond, kNsPerMs}) {
    const std::string id = absl::StrCat("a", before_ns);
    world_.host.busy = true;
    Start(Spec(id));
    const std::uint32_t program = world_.host.links.begin()->first;
    world_.Pass(10 * kNsPerSecond - before_ns);
    ASSERT_TRUE(world_.controller->Stop(id).ok());
    const std::int64_t now_ns = world_.clock.Now().boottime_ns;
    EXPECT_EQ(Leaf().delay_ns, 0);
    EXPECT_GE(world_.host.steered_until_ns[program], now_ns + kDelayNs);
    world_.Pass(kNsPerSecond);
    EXPECT_EQ(world_.Find(id).phase(), v1::PHASE_UNDONE);
    EXPECT_EQ(world_.host.Digest(), before_);
  }
}

TEST_F(NetDelay, ADeviceThatSendsNothingAnyMore_IsGivenUp) {
  world_.host.busy = true;
  Start(Spec("a"));
  world_.Pass(9 * kNsPerSecond);
  ASSERT_EQ(world_.host.netems.size(), 1u);
  world_.host.waits_until_ns[world_.host.netems.begin()->first] = INT64_MAX;
  world_.host.busy = false;
  world_.Pass(10 * kNsPerSecond);
  EXPECT_EQ(world_.Find("a").phase(), v1::PHASE_UNDONE);
  EXPECT_EQ(world_.host.lost_packets, 3);
  EXPECT_EQ(world_.host.Digest(), before_);
}

TEST_F(NetDelay, ARampIsTakenInSteps_AllJournaledBefore) {
  v1::FaultSpec spec = Spec("a");
  spec.mutable_shape()->set_kind(v1::SHAPE_KIND_RAMP);
  spec.mutable_shape()->set_ramp_ns(4 * kNsPerSecond);
  Start(spec);
  const v1::FaultState state = world_.Find("a");
  EXPECT_EQ(state.changes(0).steps_size(), 20);
  EXPECT_EQ(state.changes(0).steps(0), "netem delay 1250000 ns jitter 0 ns");
  EXPECT_EQ(Leaf().delay_ns, 1'250'000);
  world_.Pass(2'100 * kNsPerMs);
  EXPECT_EQ(Leaf().delay_ns, 26'250'000);
  EXPECT_EQ(Leaf().limit, 100'000u);
  world_.Pass(2 * kNsPerSecond);
  EXPECT_EQ(Leaf().delay_ns, kDelayNs);
  EXPECT_EQ(world_.Find("a").phase(), v1::PHASE_VERIFIED);
}

TEST_F(NetDelay, PulsesAreOnAndOff) {
  Start(Pulse(300 * kNsPerMs, 400 * kNsPerMs));
  EXPECT_EQ(Leaf().delay_ns, kDelayNs);
  world_.Pass(350 * kNsPerMs);
  EXPECT_EQ(Leaf().delay_ns, 0);
  world_.Pass(400 * kNsPerMs);
  EXPECT_EQ(Leaf().delay_ns, kDelayNs);
  EXPECT_EQ(world_.Find("a").phase(), v1::PHASE_VERIFIED);
}

TEST_F(NetDelay, SomebodysOwnDelayIsInterference) {
  Start(Spec("a"));
  world_.host.netems.begin()->second.delay_ns = 7;
  world_.Pass(kNsPerSecond);
  const v1::FaultState ended = world_.Find("a");
  EXPECT_EQ(ended.phase(), v1::PHASE_INTERFERED);
  EXPECT_TRUE(absl::StrContains(ended.reason(), "has another delay: 7 ns")) << ended.reason();
  EXPECT_EQ(world_.host.Digest(), before_);
}

// The link went with the process; what waits is let go by the next one, and loses nothing.
TEST_F(NetDelay, AfterACrashWhatWaitsIsSent) {
  world_.host.busy = true;
  Start(Spec("a"));
  world_.Crash();
  EXPECT_EQ(Leaf().delay_ns, kDelayNs);
  world_.host.busy = false;
  const std::uint32_t handle = world_.host.netems.begin()->first;
  world_.host.waits_until_ns[handle] = world_.clock.Now().boottime_ns + kDelayNs;
  world_.Boot();
  EXPECT_EQ(world_.Find("a").phase(), v1::PHASE_UNDOING);
  EXPECT_EQ(Leaf().delay_ns, 0);
  world_.Pass(kDelayNs + 10 * kNsPerMs);
  const v1::FaultState ended = world_.Find("a");
  EXPECT_EQ(ended.phase(), v1::PHASE_UNDONE);
  EXPECT_EQ(ended.reason(), "the injector died");
  EXPECT_EQ(world_.host.lost_packets, 0);
  EXPECT_EQ(world_.host.Digest(), before_);
}

TEST(ClassLeaf, IsReadAsItWasWritten) {
  for (const ClassLeaf& leaf : {ClassLeaf{1000, 0, 0}, ClassLeaf{kUnlimitedRate, 5, 3}}) {
    const absl::StatusOr<ClassLeaf> read = ClassLeaf::Parse(leaf.Describe());
    ASSERT_EQ(read.status(), absl::OkStatus());
    EXPECT_EQ(read->Describe(), leaf.Describe());
  }
  for (const char* text :
       {"", "netem", "netem delay 0 ns jitter 0 ns", "netem delay 5 ns jitter -1 ns",
        "netem delay 5 ms jitter 0 ns", "htb rate 7 bit/s"}) {
    EXPECT_EQ(ClassLeaf::Parse(text).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

TEST(NetemLimit, IsWhatAMillionPacketsPerSecondNeed_AndBounded) {
  EXPECT_EQ(NetemLimit(1'000), 1'000u);
  EXPECT_EQ(NetemLimit(10'000'000), 20'000u);
  EXPECT_EQ(NetemLimit(60'000'000'000), 100'000u);
}

}  // namespace
}  // namespace faultline
