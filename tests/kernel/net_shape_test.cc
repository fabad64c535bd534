// SPDX-License-Identifier: Apache-2.0
//
// net.loss on this kernel while it follows a shape: which of the numbered datagrams are lost, by
// the time at which each was sent.
#include <cmath>
#include <set>

#include "injector/host/net_levers.h"
#include "tests/kernel/net_test.h"

namespace faultline {
namespace {

class NetShape : public NetTest {
 protected:
  LossSpec Spec(const Shape& shape, bool inbound) const {
    LossSpec spec;
    spec.fault_id = "test";
    spec.cgroup = group_->path();
    spec.loss_ppm = 1'000'000;
    spec.seed = 42;
    spec.inbound = inbound;
    spec.outbound = !inbound;
    spec.devices = {TestNetwork::kHereDevice};
    spec.shape = shape;
    spec.start_ns = BootNs();
    spec.deadline_ns = spec.start_ns + 60 * kNsPerSecond;
    return spec;
  }

  // A datagram: when it was being sent, and whether it came.
  struct Sent {
    std::int64_t begin_ns = 0;
    std::int64_t end_ns = 0;
    bool arrived = false;
  };

  // Sends one after the other for `ms`. A fast machine sends more than any receive buffer holds, so
  // what came is taken out meanwhile.
  std::vector<Sent> SendFor(int ms, int sender, int receiver) const {
    std::vector<Sent> all;
    const std::int64_t until_ns = BootNs() + ms * kNsPerMs;
    while (BootNs() < until_ns) {
      Sent one;
      one.begin_ns = BootNs();
      EXPECT_EQ(SendNumbered(sender, 1, static_cast<std::uint32_t>(all.size())), 0);
      one.end_ns = BootNs();
      all.push_back(one);
      if (all.size() % 256 == 0) Take(ReceiveNumbers(receiver, 0), &all);
    }
    Take(ReceiveNumbers(receiver), &all);
    return all;
  }

  static void Take(const std::vector<std::uint32_t>& numbers, std::vector<Sent>* all) {
    for (const std::uint32_t number : numbers) all->at(number).arrived = true;
  }

  static std::int64_t Lost(const std::vector<Sent>& all) {
    return std::count_if(all.begin(), all.end(), [](const Sent& one) { return !one.arrived; });
  }
};

// Every datagram of a pulse is lost, every one between two arrives: exact to the packet.
TEST_F(NetShape, APulseLosesAllAndNothingInTurns) {
  const Shape shape{.on_ns = 60 * kNsPerMs, .off_ns = 40 * kNsPerMs};
  for (const bool inbound : {true, false}) {
    SCOPED_TRACE(inbound ? "inbound" : "outbound");
    const Receiver target = UdpReceiver(inbound ? group_.get() : nullptr, !inbound);
    const int sender = inbound ? UdpSender(nullptr, true, TestNetwork::kHere, target.port)
                               : UdpSender(group_.get(), false, TestNetwork::kThere, target.port);
    const LossSpec spec = Spec(shape, inbound);
    absl::StatusOr<Levers> levers = MakeLoss(Net(), spec);
    ASSERT_EQ(levers.status(), absl::OkStatus());
    ApplyAll(*levers);
    const std::vector<Sent> all = SendFor(1'050, sender, target.fd);
    int of_pulses = 0;
    int between = 0;
    for (const Sent& one : all) {
      const double level = shape.Level(one.begin_ns - spec.start_ns);
      // What was sent over an edge may have met either.
      if (level != shape.Level(one.end_ns - spec.start_ns)) continue;
      ASSERT_EQ(one.arrived, level == 0) << one.begin_ns - spec.start_ns;
      ++(level == 0 ? between : of_pulses);
    }
    EXPECT_GT(of_pulses, 100);
    EXPECT_GT(between, 100);
    EXPECT_EQ(DoseOf(*levers, "packets_dropped"), Lost(all));
    EXPECT_EQ(DoseOf(*levers, "packets_passed"), 0) << "nothing is drawn for between two pulses";
    RestoreAll(*levers);
  }
}

// Each tenth of a ramp loses the share that the ramp has there, and after it everything is lost.
TEST_F(NetShape, ARampLosesMoreAndMore) {
  const Receiver target = UdpReceiver(group_.get(), false);
  const int sender = UdpSender(nullptr, true, TestNetwork::kHere, target.port);
  const Shape shape{.ramp_ns = kNsPerSecond};
  const LossSpec spec = Spec(shape, true);
  absl::StatusOr<Levers> levers = MakeLoss(Net(), spec);
  ASSERT_EQ(levers.status(), absl::OkStatus());
  ApplyAll(*levers);
  const std::vector<Sent> all = SendFor(1'200, sender, target.fd);
  struct Tenth {
    double expected = 0;
    double variance = 0;
    double lost = 0;
    int sent = 0;
  };
  std::vector<Tenth> tenths(13);
  for (const Sent& one : all) {
    const double level = shape.Level(one.begin_ns - spec.start_ns);
    Tenth& tenth =
        tenths.at(static_cast<size_t>((one.begin_ns - spec.start_ns) / (kNsPerSecond / 10)));
    tenth.expected += level;
    tenth.variance += level * (1 - level);
    tenth.lost += one.arrived ? 0 : 1;
    ++tenth.sent;
  }
  for (size_t i = 0; i < tenths.size(); ++i) {
    // Four sigma, and what the time between the stamp and the program moves.
    EXPECT_NEAR(tenths[i].lost, tenths[i].expected,
                4 * std::sqrt(tenths[i].variance) + 0.005 * tenths[i].sent + 1)
        << i << " of " << tenths[i].sent;
  }
  EXPECT_GT(tenths[10].sent, 0);
  EXPECT_EQ(tenths[10].lost, tenths[10].sent);
  EXPECT_EQ(DoseOf(*levers, "packets_dropped"), Lost(all));
  RestoreAll(*levers);
}

}  // namespace
}  // namespace faultline
