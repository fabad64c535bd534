// SPDX-License-Identifier: Apache-2.0
//
// sham on this kernel: what a real fault attaches is there, and the target sees nothing of it.
#include <csignal>

#include "bpf/fault.h"
#include "injector/host/netlink.h"
#include "tests/kernel/fault_network.h"

namespace faultline {
namespace {

class ShamFault : public NetFaultTest {
 protected:
  v1::FaultSpec Sham(const std::string& mechanism) const {
    v1::FaultSpec spec = Spec("sham", mechanism, 30);
    (*spec.mutable_parameters())["mechanism"] = mechanism;
    if (mechanism == "plane") (*spec.mutable_parameters())["device"] = TestNetwork::kHereDevice;
    return spec;
  }
  void ExpectEnds(const std::string& mechanism) {
    const auto stopped = injector_.Stop(Id(mechanism));
    ASSERT_TRUE(stopped.ok()) << stopped.status();
    EXPECT_EQ(stopped->phase(), v1::PHASE_UNDONE) << stopped->reason();
    EXPECT_EQ(stopped->residue_size(), 0);
    EXPECT_EQ(stopped->dose_size(), 0);
    EXPECT_EQ(stopped->edges().first_touch().boottime_ns(), 0);
    EXPECT_EQ(Digest(), before_);
  }
};

TEST_F(ShamFault, ByLinkAndByPlane_LoseAndHoldNothing) {
  for (const char* mechanism : {"link", "plane"}) {
    SCOPED_TRACE(mechanism);
    Flow flow = MakeFlow(true);
    const auto started = injector_.Inject(Sham(mechanism));
    ASSERT_TRUE(started.ok()) << started.status();
    EXPECT_NE(Digest(), before_);
    constexpr int kPackets = 2'000;
    const std::int64_t begin_ns = Clock::System().Now().boottime_ns;
    for (int i = 0; i < kPackets; ++i) flow.Send();
    // The last one is there as soon as it would be without.
    std::uint32_t number = 0;
    while (number != kPackets - 1 &&
           Clock::System().Now().boottime_ns - begin_ns < 2 * kNsPerSecond) {
      (void)recv(flow.receiver, &number, sizeof(number), 0);
    }
    EXPECT_EQ(number, std::uint32_t{kPackets - 1});
    const std::int64_t took_ns = Clock::System().Now().boottime_ns - flow.sent_ns.back();
    EXPECT_LT(took_ns, 100 * kNsPerMs);
    for (int i = 0; i < kPackets; ++i) flow.Send();
    flow.Drain();
    EXPECT_EQ(std::count(flow.arrived.begin() + kPackets, flow.arrived.end(), false), 0);
    ExpectEnds(mechanism);
  }
}

TEST_F(ShamFault, ByPlane_ItsClassIsPassedByAllThatLeaves) {
  Flow flow = MakeFlow(true);
  ASSERT_TRUE(injector_.Inject(Sham("plane")).ok());
  std::unique_ptr<Netlink> netlink = Netlink::Open().value();
  const auto passed = [&] {
    std::uint64_t packets = 0;
    const std::vector<HtbClass> classes = netlink->Classes(*devices_.begin()).value();
    for (const HtbClass& one : classes) {
      if (one.handle < FAULT_FIRST_CLASS || one.handle > FAULT_LAST_CLASS) continue;
      EXPECT_EQ(one.bytes_per_second, kUnlimitedRate);
      EXPECT_EQ(one.drops, 0U);
      packets += one.packets;
    }
    return packets;
  };
  const std::uint64_t before = passed();
  for (int i = 0; i < 500; ++i) flow.Send();
  flow.Drain();
  EXPECT_EQ(flow.Lost(), 0);
  EXPECT_EQ(passed() - before, 500U);
  ExpectEnds("plane");
}

TEST_F(ShamFault, ByFreezerAndByProcess_TheTargetGoesOn) {
  const Spinner spinner(group_.get());
  ASSERT_TRUE(spinner.started());
  // Its default action for each signal but two is to end, or to stop.
  const auto sleeper = group_->Spawn([] {
    while (true) pause();
    return 0;
  });
  ASSERT_TRUE(sleeper.ok());
  ASSERT_TRUE(spinner.GetsOn());
  for (const char* mechanism : {"freezer", "process"}) {
    SCOPED_TRACE(mechanism);
    const auto started = injector_.Inject(Sham(mechanism));
    ASSERT_TRUE(started.ok()) << started.status();
    EXPECT_EQ(started->changes_size(), 1);
    EXPECT_GT(spinner.Cpus(500), 0.2);
    EXPECT_EQ(waitpid(*sleeper, nullptr, WNOHANG | WUNTRACED), 0) << "it neither ends nor stops";
    EXPECT_EQ(injector_.Find(Id(mechanism)).phase(), v1::PHASE_VERIFIED);
    ExpectEnds(mechanism);
  }
}

// The test's group is no unit's.
TEST_F(ShamFault, ByUnit_IsRefusedOffUnits) {
  const absl::Status refused = injector_.Inject(Sham("unit")).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_EQ(Digest(), before_);
}

}  // namespace
}  // namespace faultline
