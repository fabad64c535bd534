// SPDX-License-Identifier: Apache-2.0
//
// The devices that are to have a standing plane get it whenever they come, by the kernel's own
// list of queueing disciplines, and what has none is refused in words that say what to do.
#include "absl/strings/match.h"
#include "bpf/fault.h"
#include "injector/host/netlink.h"
#include "tests/kernel/fault_network.h"

namespace faultline {
namespace {

class PlaneDevice : public NetFaultTest {
 protected:
  static constexpr char kLate[] = "fllate0";

  v1::FaultSpec Rate(const std::string& name, const std::string& device) const {
    v1::FaultSpec spec = Spec("net.rate", name, 30);
    (*spec.mutable_parameters())["rate"] = "10mbit";
    (*spec.mutable_parameters())["device"] = device;
    return spec;
  }
  v1::FaultInfo RateInfo() {
    grpc::ClientContext context;
    v1::Capabilities capabilities;
    EXPECT_TRUE(injector_.root().GetCapabilities(&context, {}, &capabilities).ok());
    for (const v1::FaultInfo& info : capabilities.faults()) {
      if (info.type() == "net.rate") return info;
    }
    return {};
  }
  static bool HasPlane(const std::string& device) {
    return absl::StrContains(QdiscDigest({static_cast<int>(if_nametoindex(device.c_str()))}),
                             absl::StrCat(" htb ", FAULT_PLANE_HANDLE));
  }
  // Whether it has one within three seconds.
  static bool GetsPlane(const std::string& device) {
    for (int i = 0; i < 300 && !HasPlane(device); ++i) SleepMs(10);
    return HasPlane(device);
  }
};

// As one that is plugged in, or made by a service that starts later.
TEST_F(PlaneDevice, GetsItsPlaneWheneverItComes) {
  RestartWith({"--plane-device", kLate});
  EXPECT_EQ(RateInfo().availability(), v1::AVAILABILITY_MISSING);
  for (const char* round : {"first", "again"}) {
    SCOPED_TRACE(round);
    const absl::Status too_soon =
        injector_.Inject(Rate(absl::StrCat(round, "-too-soon"), kLate)).status();
    EXPECT_EQ(too_soon.message(), "there is no network device fllate0");
    ASSERT_TRUE(network_->AddPair(kLate, "fllate1").ok());
    SleepMs(300);
    // Which root the kernel will give it shows when it is up.
    EXPECT_FALSE(HasPlane(kLate));
    EXPECT_TRUE(absl::StrContains(RateInfo().reason(), "device fllate0 was never up"))
        << RateInfo().reason();
    ASSERT_TRUE(TestNetwork::Flap(kLate).ok());
    EXPECT_TRUE(GetsPlane(kLate));
    EXPECT_EQ(RateInfo().availability(), v1::AVAILABILITY_AVAILABLE) << RateInfo().reason();
    const v1::FaultSpec spec = Rate(round, kLate);
    const auto started = injector_.Inject(spec);
    ASSERT_TRUE(started.ok()) << started.status();
    ASSERT_TRUE(TestNetwork::Remove(kLate).ok());
    const v1::FaultState ended = injector_.WaitForEnd(spec.id(), 5);
    EXPECT_EQ(ended.phase(), v1::PHASE_INTERFERED);
    EXPECT_EQ(ended.reason(), "there is no network device fllate0");
    // The notice of it is read before the next request, or soon.
    for (int i = 0; i < 300 && RateInfo().availability() != v1::AVAILABILITY_MISSING; ++i) {
      SleepMs(10);
    }
    EXPECT_EQ(RateInfo().availability(), v1::AVAILABILITY_MISSING);
  }
  // What was journaled for a device that came late is taken away like any other.
  ASSERT_TRUE(network_->AddPair(kLate, "fllate1").ok());
  ASSERT_TRUE(TestNetwork::Flap(kLate).ok());
  EXPECT_TRUE(GetsPlane(kLate));
  RestartAsBefore();
  EXPECT_FALSE(HasPlane(kLate));
  ASSERT_TRUE(TestNetwork::Remove(kLate).ok());
}

// What waits is kept over every step.
TEST_F(PlaneDevice, ARateAsARamp_ComesDownToIt_AndLosesNothing) {
  v1::FaultSpec spec = Rate("ramp", TestNetwork::kHereDevice);
  spec.mutable_shape()->set_kind(v1::SHAPE_KIND_RAMP);
  spec.mutable_shape()->set_ramp_ns(2 * kNsPerSecond);
  Flow flow = MakeFlow(true);
  const auto started = injector_.Inject(spec);
  ASSERT_TRUE(started.ok()) << started.status();
  std::unique_ptr<Netlink> netlink = Netlink::Open().value();
  std::vector<std::uint64_t> seen;
  const std::int64_t end_ns = started->start_boottime_ns() + 2'300 * kNsPerMs;
  while (Clock::System().Now().boottime_ns < end_ns) {
    const std::vector<HtbClass> classes = netlink->Classes(*devices_.begin()).value();
    for (const HtbClass& one : classes) {
      if (one.handle < FAULT_FIRST_CLASS || one.handle > FAULT_LAST_CLASS) continue;
      const std::uint64_t bits = one.bytes_per_second * 8;
      if (seen.empty() || bits != seen.back()) seen.push_back(bits);
    }
    flow.Send();
    SleepMs(2);
  }
  EXPECT_TRUE(std::is_sorted(seen.rbegin(), seen.rend()));
  EXPECT_GE(seen.size(), 18U);
  ASSERT_FALSE(seen.empty());
  EXPECT_LE(seen.front(), 400'000'000U);
  EXPECT_EQ(seen.back(), 10'000'000U);
  const auto stopped = injector_.Stop(spec.id());
  ASSERT_TRUE(stopped.ok());
  EXPECT_EQ(stopped->phase(), v1::PHASE_UNDONE) << stopped->reason();
  flow.Drain();
  EXPECT_EQ(flow.Lost(), 0);
}

// Somebody's own root is left alone while it stands, and not waited for in vain.
TEST_F(PlaneDevice, GetsItsPlaneWhenSomebodysOwnRootIsGone) {
  constexpr std::uint32_t kForeign = 0x10000;
  RestartWith({});
  std::unique_ptr<Netlink> netlink = Netlink::Open().value();
  const NetDevice device = netlink->Device(TestNetwork::kHereDevice).value();
  ASSERT_EQ(netlink->AddHtbRoot(device, kForeign, 0), absl::OkStatus());
  RestartWith({"--plane-device", TestNetwork::kHereDevice});
  SleepMs(300);
  EXPECT_FALSE(HasPlane(TestNetwork::kHereDevice));
  EXPECT_TRUE(absl::StrContains(RateInfo().reason(), "a root qdisc of somebody's own"))
      << RateInfo().reason();
  ASSERT_EQ(netlink->DeleteRoot(device.index, kForeign), absl::OkStatus());
  EXPECT_TRUE(GetsPlane(TestNetwork::kHereDevice));
  EXPECT_EQ(RateInfo().availability(), v1::AVAILABILITY_AVAILABLE) << RateInfo().reason();
}

// What is refused in any case is not offered as "degraded".
TEST_F(PlaneDevice, RateWithoutOneIsMissing_AndSaysWhatToDo) {
  ASSERT_EQ(injector_.End(SIGTERM), 0);
  ASSERT_EQ(injector_.Run({"--state-dir", injector_.folder() / "state", "--remove-planes"}), 0);
  const auto rate = [this](const std::vector<std::string>& options) {
    injector_.SetOptions(options);
    EXPECT_TRUE(injector_.Start().ok());
    const v1::FaultInfo info = RateInfo();
    EXPECT_FALSE(injector_.Inject(Rate("r", TestNetwork::kHereDevice)).ok());
    EXPECT_EQ(injector_.End(SIGTERM), 0);
    return info;
  };
  const v1::FaultInfo without = rate({"--bpffs", "/proc"});
  EXPECT_EQ(without.availability(), v1::AVAILABILITY_MISSING);
  EXPECT_EQ(without.reason(),
            "no network device has a standing plane; start faultline-injector with --plane-device "
            "and a device that is up (here: fltest0)");
  const v1::FaultInfo wrong = rate({"--plane-device", "nosuch0"});
  EXPECT_EQ(wrong.availability(), v1::AVAILABILITY_MISSING);
  EXPECT_EQ(wrong.reason(),
            "no network device has a standing plane: there is no network device nosuch0; that is "
            "tried again when it changes (devices that are up: fltest0)");
  injector_.SetOptions(Options(bpffs_->path()));
  ASSERT_TRUE(injector_.Start().ok());
}

}  // namespace
}  // namespace faultline
