// SPDX-License-Identifier: Apache-2.0
//
// The standing plane and net.rate on this kernel: the target gets its rate, nobody else loses a
// packet, nothing that waited is lost at the end, and a killed owner leaves only what recovery
// removes.
#include <sched.h>

#include <atomic>
#include <random>
#include <thread>

#include "bpf/fault.h"
#include "injector/host/link.h"
#include "injector/host/netlink.h"
#include "tests/kernel/net_test.h"

namespace faultline {
namespace {

constexpr std::int64_t kMinute = 60 * kNsPerSecond;
constexpr double kMbit = 1e6;

class NetRate : public NetTest {
 protected:
  void SetUp() override {
    NetTest::SetUp();
    if (IsSkipped()) return;
    // That no plane is there yet is no reason: these tests make one.
    const absl::Status status = ProbeNet(Net(), "rate");
    if (absl::IsUnimplemented(status)) GTEST_SKIP() << status.message();
    ASSERT_TRUE(status.ok() || absl::IsFailedPrecondition(status)) << status;
  }

  RateSpec Spec(double bits_per_second) const {
    RateSpec spec;
    spec.fault_id = "test";
    spec.cgroup = group_->path();
    spec.device = TestNetwork::kHereDevice;
    spec.bits_per_second = static_cast<std::int64_t>(bits_per_second);
    spec.deadline_ns = BootNs() + kMinute;
    return spec;
  }

  static Qdisc Root() {
    std::unique_ptr<Netlink> netlink = Netlink::Open().value();
    return netlink->Root(netlink->Device(TestNetwork::kHereDevice).value().index).value();
  }
  // Blasts datagrams of `payload` bytes for `ms` and returns the bytes on the wire, headers
  // included, that arrived between the first and the last arrival, per second.
  double MeasureUdp(int sender, int receiver, size_t payload, int ms) {
    std::atomic<bool> stop = false;
    std::thread source([&] {
      const std::vector<char> data(payload, 'x');
      while (!stop) (void)!send(sender, data.data(), data.size(), 0);
    });
    std::vector<char> buffer(65536);
    // The burst and the filling of the queue belong to the beginning.
    std::int64_t begin = BootNs();
    const std::int64_t settled = begin + 200 * kNsPerMs;
    const std::int64_t end = settled + ms * kNsPerMs;
    std::int64_t bytes = 0;
    std::int64_t last = 0;
    pollfd wait{receiver, POLLIN, 0};
    while (BootNs() < end && poll(&wait, 1, 500) == 1) {
      if (recv(receiver, buffer.data(), buffer.size(), MSG_DONTWAIT) < 0) continue;
      last = BootNs();
      if (last < settled) {
        begin = last;
        continue;
      }
      constexpr std::int64_t kHeaders = 14 + 20 + 8;
      bytes += static_cast<std::int64_t>(payload) + kHeaders;
    }
    stop = true;
    source.join();
    return static_cast<double>(bytes) * 1e9 / static_cast<double>(last - begin);
  }
};

TEST_F(NetRate, Plane_ComesAndGoesExactly) {
  const Qdisc before = Root();
  ASSERT_EQ(before.kind, "noqueue");
  absl::StatusOr<v1::Change> change = SetUpPlane(Net(), {TestNetwork::kHereDevice});
  ASSERT_EQ(change.status(), absl::OkStatus());
  EXPECT_EQ(change->before(), "noqueue");
  EXPECT_EQ(Root().kind, "htb");
  EXPECT_EQ(Root().handle, FAULT_PLANE_HANDLE);
  const size_t classes = Classes().size();
  // Again: recognised, nothing doubled.
  change = SetUpPlane(Net(), {TestNetwork::kHereDevice});
  ASSERT_EQ(change.status(), absl::OkStatus());
  EXPECT_EQ(Classes().size(), classes);
  LeverOr lever = RecoverNet(Net(), *change);
  ASSERT_EQ(lever.status(), absl::OkStatus());
  EXPECT_EQ((*lever)->Residue().code(), absl::StatusCode::kInternal);
  EXPECT_EQ((*lever)->Restore(), absl::OkStatus());
  EXPECT_EQ((*lever)->Residue(), absl::OkStatus());
  EXPECT_EQ(Root().kind, before.kind);
  EXPECT_EQ(Root().handle, before.handle);
  EXPECT_EQ(RemovePlane(Net(), TestNetwork::kHereDevice), absl::OkStatus());
}

// Asked by everybody who lists what this host can do.
TEST_F(NetRate, Probe_ChangesNothing) {
  std::unique_ptr<Netlink> netlink = Netlink::Open().value();
  const std::vector<NetDevice> devices = netlink->Devices().value();
  for (const char* kind : {"rate", "loss", "loss.outbound", "rate"}) {
    (void)ProbeNet(Net(), kind);
    for (const NetDevice& device : devices) {
      const Qdisc root = netlink->Root(device.index).value();
      EXPECT_EQ(root.kind, "noqueue") << device.name << " after probing " << kind;
      EXPECT_EQ(root.handle, 0U);
      EXPECT_EQ(netlink->Classes(device.index).value().size(), 0U);
    }
  }
}

TEST_F(NetRate, Plane_LeavesAForeignRootAlone) {
  std::unique_ptr<Netlink> netlink = Netlink::Open().value();
  const NetDevice device = netlink->Device(TestNetwork::kHereDevice).value();
  constexpr std::uint32_t kForeign = 0x10000;
  ASSERT_EQ(netlink->AddHtbRoot(device, kForeign, 0), absl::OkStatus());
  EXPECT_EQ(SetUpPlane(Net(), {device.name}).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(MakeRate(Net(), Spec(kMbit)).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(RemovePlane(Net(), device.name), absl::OkStatus());
  EXPECT_EQ(Root().handle, kForeign);
  EXPECT_EQ(SetUpPlane(Net(), {"nosuchdevice"}).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(NetRate, Refuses_ADeviceWithoutPlaneAndTheRoot) {
  EXPECT_EQ(MakeRate(Net(), Spec(kMbit)).status().code(), absl::StatusCode::kFailedPrecondition);
  RateSpec spec = Spec(kMbit);
  spec.cgroup = "/";
  EXPECT_EQ(MakeRate(Net(), spec).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(NetRate, Rate_IsWhatTheTargetGets) {
  ASSERT_EQ(SetUpPlane(Net(), {TestNetwork::kHereDevice}).status(), absl::OkStatus());
  const Receiver receiver = UdpReceiver(nullptr, true);
  const int target = UdpSender(group_.get(), false, TestNetwork::kThere, receiver.port);
  const double capacity = 8 * MeasureUdp(target, receiver.fd, 1000, 300);
  ReceiveNumbers(receiver.fd);
  for (const double rate : {1 * kMbit, 20 * kMbit, 100 * kMbit}) {
    SCOPED_TRACE(rate);
    // What this machine can hardly send unshaped says nothing of the shaper.
    if (rate > capacity / 3) {
      std::printf("left out: %.0f Mbit/s, as unshaped it is %.0f\n", rate / kMbit,
                  capacity / kMbit);
      continue;
    }
    absl::StatusOr<Levers> levers = MakeRate(Net(), Spec(rate));
    ASSERT_EQ(levers.status(), absl::OkStatus());
    ASSERT_EQ(levers->size(), 2U);
    const std::int64_t before = BootNs();
    ApplyAll(*levers);
    double measured = 0;
    // A machine that is busy with something else sends less for a while, never more.
    for (int attempt = 0; attempt < 3 && measured < 0.95 * rate; ++attempt) {
      measured = 8 * MeasureUdp(target, receiver.fd, 1000, 2000);
    }
    std::printf("asked %.0f Mbit/s, got %.2f\n", rate / kMbit, measured / kMbit);
    EXPECT_NEAR(measured / rate, 1.0, 0.05);
    EXPECT_GT(DoseOf(*levers, "packets_shaped"), 0);
    EXPECT_GT(DoseOf(*levers, "overlimits"), 0);
    EXPECT_GE(levers->back()->Measure().first_touch_ns, before);
    RestoreAll(*levers);
    EXPECT_EQ(FaultClasses(), 0);
    // The dose outlives the class, and the program steered what the class took or refused.
    EXPECT_EQ(DoseOf(*levers, "packets_steered"),
              DoseOf(*levers, "packets_shaped") + DoseOf(*levers, "packets_dropped"));
    EXPECT_EQ(DoseOf(*levers, "queued_bytes"), 0);
    ReceiveNumbers(receiver.fd);
  }
}

// Packets are steered in a pulse and not between two.
TEST_F(NetRate, Pulse_SteersOnlyWhileItIsOn) {
  ASSERT_EQ(SetUpPlane(Net(), {TestNetwork::kHereDevice}).status(), absl::OkStatus());
  const Receiver receiver = UdpReceiver(nullptr, true);
  const int target = UdpSender(group_.get(), false, TestNetwork::kThere, receiver.port);
  RateSpec spec = Spec(100 * kMbit);
  spec.shape = {.on_ns = 60 * kNsPerMs, .off_ns = 40 * kNsPerMs};
  spec.start_ns = BootNs();
  absl::StatusOr<Levers> levers = MakeRate(Net(), spec);
  ASSERT_EQ(levers.status(), absl::OkStatus());
  ApplyAll(*levers);
  std::int64_t steered = 0;
  std::int64_t over_an_edge = 0;
  std::int64_t sent = 0;
  size_t received = 0;
  while (BootNs() < spec.start_ns + 500 * kNsPerMs) {
    const double before = spec.shape.Level(BootNs() - spec.start_ns);
    EXPECT_EQ(SendNumbered(target, 1), 0);
    const double after = spec.shape.Level(BootNs() - spec.start_ns);
    ++sent;
    if (before != after) ++over_an_edge;
    if (before == 1 && after == 1) ++steered;
    // A fast machine sends more than the receive buffer holds.
    if (sent % 256 == 0) received += ReceiveNumbers(receiver.fd, 0).size();
  }
  EXPECT_GT(steered, 10);
  EXPECT_GT(sent - steered, over_an_edge + 10);
  EXPECT_GE(DoseOf(*levers, "packets_steered"), steered);
  EXPECT_LE(DoseOf(*levers, "packets_steered"), steered + over_an_edge);
  received += ReceiveNumbers(receiver.fd).size();
  EXPECT_EQ(static_cast<std::int64_t>(received), sent);
  RestoreAll(*levers);
}

TEST_F(NetRate, Tcp_GetsTheRateWithoutLoss) {
  ASSERT_EQ(SetUpPlane(Net(), {TestNetwork::kHereDevice}).status(), absl::OkStatus());
  const Receiver listener = TcpListener(true);
  const int fd = Socket(group_.get(), AF_INET, SOCK_STREAM);
  ASSERT_EQ(TestNetwork::Connect(fd, TestNetwork::kThere, listener.port), 0);
  const int peer = accept4(listener.fd, nullptr, nullptr, SOCK_CLOEXEC);
  descriptors_.push_back(peer);
  const Receiver receiver = UdpReceiver(nullptr, true);
  const int udp = UdpSender(nullptr, false, TestNetwork::kThere, receiver.port);
  // Well below what this machine sends unshaped, emulated ones included.
  const double rate = std::min(50 * kMbit, 8 * MeasureUdp(udp, receiver.fd, 1000, 300) / 5);
  absl::StatusOr<Levers> levers = MakeRate(Net(), Spec(rate));
  ASSERT_EQ(levers.status(), absl::OkStatus());
  ApplyAll(*levers);
  std::atomic<bool> stop = false;
  std::thread source([&] {
    const std::vector<char> data(1 << 16, 'x');
    while (!stop && send(fd, data.data(), data.size(), MSG_NOSIGNAL) > 0) {
    }
    shutdown(fd, SHUT_WR);
  });
  std::vector<char> buffer(1 << 16);
  const auto measure = [&] {
    const std::int64_t start = BootNs();
    std::int64_t begin = 0;
    std::int64_t bytes = 0;
    std::int64_t last = 0;
    while (BootNs() - start < 2500 * kNsPerMs) {
      const ssize_t n = read(peer, buffer.data(), buffer.size());
      if (n <= 0) break;
      last = BootNs();
      if (last - start < 500 * kNsPerMs) continue;
      if (begin != 0) bytes += n;
      if (begin == 0) begin = last;
    }
    // 1448 bytes of data in a frame of 1514.
    return static_cast<double>(bytes) * 8e9 / static_cast<double>(last - begin) * 1514 / 1448;
  };
  // A machine that is busy with something else sends less for a while, never more.
  double wire = measure();
  for (int again = 0; again < 2 && wire < 0.95 * rate; ++again) wire = measure();
  RestoreAll(*levers);
  stop = true;
  while (read(peer, buffer.data(), buffer.size()) > 0) {
  }
  source.join();
  std::printf("asked %.0f Mbit/s, TCP got %.2f on the wire\n", rate / kMbit, wire / kMbit);
  EXPECT_NEAR(wire / rate, 1.0, 0.05);
}

TEST_F(NetRate, End_LosesNothingThatWaited) {
  ASSERT_EQ(SetUpPlane(Net(), {TestNetwork::kHereDevice}).status(), absl::OkStatus());
  const Receiver receiver = UdpReceiver(nullptr, true);
  const int target = UdpSender(group_.get(), false, TestNetwork::kThere, receiver.port);
  for (int round = 0; round < 10; ++round) {
    absl::StatusOr<Levers> levers = MakeRate(Net(), Spec(0.1 * kMbit));
    ASSERT_EQ(levers.status(), absl::OkStatus());
    ApplyAll(*levers);
    // 200 small datagrams are less than the queue and far more than 100 kbit/s carries meanwhile.
    EXPECT_EQ(SendNumbered(target, 200), 0);
    EXPECT_GT(DoseOf(*levers, "queued_bytes"), 1000);
    RestoreAll(*levers);
    // Each once; in which order is not the class's doing: a veth hands packets to the backlog of
    // the CPU that sent them, and the class is drained by the timer's CPU as well as the sender's.
    std::vector<std::uint32_t> received = ReceiveNumbers(receiver.fd);
    std::sort(received.begin(), received.end());
    EXPECT_EQ(received.size(), 200U);
    EXPECT_EQ(std::unique(received.begin(), received.end()), received.end());
  }
}

TEST_F(NetRate, Filters_ChooseThePackets) {
  ASSERT_EQ(SetUpPlane(Net(), {TestNetwork::kHereDevice}).status(), absl::OkStatus());
  const Receiver slow = UdpReceiver(nullptr, true);
  const Receiver fast = UdpReceiver(nullptr, true);
  const int to_slow = UdpSender(group_.get(), false, TestNetwork::kThere, slow.port);
  const int to_fast = UdpSender(group_.get(), false, TestNetwork::kThere, fast.port);
  RateSpec spec = Spec(0.1 * kMbit);
  spec.peers.emplace_back();
  spec.peers.back().set_port_first(slow.port);
  absl::StatusOr<Levers> levers = MakeRate(Net(), spec);
  ASSERT_EQ(levers.status(), absl::OkStatus());
  ApplyAll(*levers);
  EXPECT_EQ(SendNumbered(to_slow, 300), 0);
  EXPECT_EQ(SendNumbered(to_fast, 300), 0);
  EXPECT_EQ(ReceiveNumbers(fast.fd, 20).size(), 300U);
  EXPECT_EQ(DoseOf(*levers, "packets_steered"), 300);
  RestoreAll(*levers);
}

TEST_F(NetRate, Exempt_IsNotSteered) {
  ASSERT_EQ(SetUpPlane(Net(), {TestNetwork::kHereDevice}).status(), absl::OkStatus());
  const Receiver slow = UdpReceiver(nullptr, true);
  const Receiver spared = UdpReceiver(nullptr, true);
  const int to_slow = UdpSender(group_.get(), false, TestNetwork::kThere, slow.port);
  const int to_spared = UdpSender(group_.get(), false, TestNetwork::kThere, spared.port);
  RateSpec spec = Spec(0.1 * kMbit);
  spec.exempt.emplace_back();
  spec.exempt.back().set_cidr(TestNetwork::kThere);
  spec.exempt.back().set_port_first(spared.port);
  absl::StatusOr<Levers> levers = MakeRate(Net(), spec);
  ASSERT_EQ(levers.status(), absl::OkStatus());
  ApplyAll(*levers);
  EXPECT_EQ(SendNumbered(to_slow, 300), 0);
  EXPECT_EQ(SendNumbered(to_spared, 300), 0);
  EXPECT_EQ(ReceiveNumbers(spared.fd, 20).size(), 300U);
  EXPECT_EQ(DoseOf(*levers, "packets_steered"), 300);
  RestoreAll(*levers);
}

TEST_F(NetRate, Deadline_IsKeptByTheProgramItself) {
  ASSERT_EQ(SetUpPlane(Net(), {TestNetwork::kHereDevice}).status(), absl::OkStatus());
  const Receiver receiver = UdpReceiver(nullptr, true);
  const int target = UdpSender(group_.get(), false, TestNetwork::kThere, receiver.port);
  RateSpec spec = Spec(8000);
  spec.deadline_ns = BootNs() + 200 * kNsPerMs;
  absl::StatusOr<Levers> levers = MakeRate(Net(), spec);
  ASSERT_EQ(levers.status(), absl::OkStatus());
  ApplyAll(*levers);
  SleepMs(300);
  EXPECT_EQ(SendNumbered(target, 500), 0);
  EXPECT_EQ(ReceiveNumbers(receiver.fd, 20).size(), 500U);
  EXPECT_EQ(DoseOf(*levers, "packets_steered"), 0);
  RestoreAll(*levers);
}

// What a delay needs at its end; a rate's class does, as every kernel has it.
TEST_F(NetRate, Program_GoesOnPastItsDeadlineWhileItIsToldTo) {
  ASSERT_EQ(SetUpPlane(Net(), {TestNetwork::kHereDevice}).status(), absl::OkStatus());
  const Receiver receiver = UdpReceiver(nullptr, true);
  const int target = UdpSender(group_.get(), false, TestNetwork::kThere, receiver.port);
  ProgramSpec spec;
  spec.name = "steer";
  spec.rule.ifindex = if_nametoindex(TestNetwork::kHereDevice);
  // No class of the plane, so that it is only counted.
  spec.rule.priority = 0;
  spec.rule.deadline_ns = static_cast<std::uint64_t>(BootNs() + kNsPerSecond);
  spec.hook = {Hook::Kind::kCgroupEgress, group_->path(), "steering on here",
               TestNetwork::kHereDevice};
  absl::StatusOr<std::unique_ptr<Program>> program = Net().programs->Load(spec);
  ASSERT_EQ(program.status(), absl::OkStatus());
  ASSERT_EQ((*program)->Attach(), absl::OkStatus());
  const auto steered = [&](int count) {
    const std::uint64_t before = (*program)->Read().value().hit_packets;
    EXPECT_EQ(SendNumbered(target, count), 0);
    return (*program)->Read().value().hit_packets - before;
  };
  EXPECT_EQ(steered(50), 50U);
  ASSERT_EQ((*program)->GoOn(BootNs() + 2 * kNsPerSecond), absl::OkStatus());
  SleepMs(1'050);
  EXPECT_EQ(steered(50), 50U) << "past its deadline";
  SleepMs(1'050);
  EXPECT_EQ(steered(50), 0U);
  // Who let a packet go does not begin anew: the fault was over.
  ASSERT_EQ((*program)->GoOn(BootNs() + kNsPerSecond), absl::OkStatus());
  EXPECT_EQ(steered(50), 0U);
  (*program)->Detach();
}

// An untargeted flow of some 5 kHz over 50 starts and ends.
TEST_F(NetRate, Others_LoseNothingAtStartAndEnd) {
  ASSERT_EQ(SetUpPlane(Net(), {TestNetwork::kHereDevice}).status(), absl::OkStatus());
  const Receiver receiver = UdpReceiver(nullptr, true);
  const int other = UdpSender(nullptr, false, TestNetwork::kThere, receiver.port);
  const Receiver target_receiver = UdpReceiver(nullptr, true);
  const int target = UdpSender(group_.get(), false, TestNetwork::kThere, target_receiver.port);
  std::atomic<bool> stop = false;
  std::uint32_t sent = 0;
  std::uint32_t failed = 0;
  std::thread source([&] {
    auto next = std::chrono::steady_clock::now();
    while (!stop) {
      if (send(other, &sent, sizeof(sent), 0) == sizeof(sent)) {
        ++sent;
      } else {
        ++failed;
      }
      next += std::chrono::microseconds(200);
      std::this_thread::sleep_until(next);
    }
  });
  const std::int64_t before = BootNs();
  for (int round = 0; round < 50; ++round) {
    absl::StatusOr<Levers> levers = MakeRate(Net(), Spec(1 * kMbit));
    ASSERT_EQ(levers.status(), absl::OkStatus());
    ApplyAll(*levers);
    EXPECT_EQ(SendNumbered(target, 100), 0);
    RestoreAll(*levers);
  }
  const double seconds = static_cast<double>(BootNs() - before) / 1e9;
  stop = true;
  source.join();
  EXPECT_EQ(failed, 0U);
  EXPECT_EQ(ReceiveNumbers(receiver.fd).size(), sent);
  EXPECT_EQ(ReceiveNumbers(target_receiver.fd).size(), 5000U);
  std::printf("%u untargeted datagrams at %.1f kHz over 50 starts and ends\n", sent,
              static_cast<double>(sent) / seconds / 1000);
}

TEST_F(NetRate, OwnerKilled_PacketsPassAndRecoveryRemovesTheClass) {
  ASSERT_EQ(SetUpPlane(Net(), {TestNetwork::kHereDevice}).status(), absl::OkStatus());
  const Receiver receiver = UdpReceiver(nullptr, true);
  const int target = UdpSender(group_.get(), false, TestNetwork::kThere, receiver.port);
  const Receiver probe_receiver = UdpReceiver(nullptr, true);
  const int probe = UdpSender(group_.get(), false, TestNetwork::kThere, probe_receiver.port);
  std::mt19937 random(9);
  std::int64_t slowest_ns = 0;
  for (int round = 0; round < 20; ++round) {
    // 8 kbit/s lets a burst of some 70 small datagrams pass; the others wait in the class until
    // recovery, and their socket with them. New packets of the target pass at once.
    const Owner owner = StartOwner([&] { return MakeRate(Net(), Spec(8000)); });
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 20'000));
    ASSERT_EQ(SendNumbered(target, 200), 0);
    const size_t passed = ReceiveNumbers(receiver.fd, 10).size();
    ASSERT_LT(passed, 150U);
    const std::int64_t killed = BootNs();
    kill(owner.pid, SIGKILL);
    std::uint32_t number = 0;
    // Not faster, or the probe's own buffer is full of what was steered before the link was gone.
    do {
      ASSERT_EQ(SendNumbered(probe, 1), 0);
      std::this_thread::sleep_for(std::chrono::microseconds(200));
      ASSERT_LT(BootNs() - killed, kNsPerSecond);
    } while (recv(probe_receiver.fd, &number, sizeof(number), MSG_DONTWAIT) < 0);
    slowest_ns = std::max(slowest_ns, BootNs() - killed);
    waitpid(owner.pid, nullptr, 0);
    EXPECT_EQ(FaultClasses(), 1);
    Recover(owner.changes);
    EXPECT_EQ(FaultClasses(), 0);
    const Hook hook{Hook::Kind::kCgroupEgress, group_->path(), "", ""};
    EXPECT_EQ(Net().programs->Attached(hook).value().size(), 0U);
    EXPECT_EQ(passed + ReceiveNumbers(receiver.fd, 5).size(), 200U);
    ReceiveNumbers(probe_receiver.fd, 1);
  }
  std::printf("slowest end after SIGKILL: %.2f ms\n", static_cast<double>(slowest_ns) / 1e6);
}

TEST_F(NetRate, Interference_IsNoticed) {
  ASSERT_EQ(SetUpPlane(Net(), {TestNetwork::kHereDevice}).status(), absl::OkStatus());
  absl::StatusOr<Levers> levers = MakeRate(Net(), Spec(kMbit));
  ASSERT_EQ(levers.status(), absl::OkStatus());
  ApplyAll(*levers);
  ASSERT_EQ(RemovePlane(Net(), TestNetwork::kHereDevice), absl::OkStatus());
  EXPECT_EQ(levers->front()->Verify().code(), absl::StatusCode::kAborted);
  RestoreAll(*levers);
  EXPECT_EQ(Root().kind, "noqueue");
}

// Two faults that are planned before either is applied, and one class each.
TEST_F(NetRate, TwoFaults_HaveTwoClasses) {
  ASSERT_EQ(SetUpPlane(Net(), {TestNetwork::kHereDevice}).status(), absl::OkStatus());
  absl::StatusOr<Levers> first = MakeRate(Net(), Spec(kMbit));
  absl::StatusOr<Levers> second = MakeRate(Net(), Spec(2 * kMbit));
  ASSERT_EQ(first.status(), absl::OkStatus());
  ASSERT_EQ(second.status(), absl::OkStatus());
  ApplyAll(*first);
  ApplyAll(*second);
  EXPECT_EQ(FaultClasses(), 2);
  RestoreAll(*first);
  EXPECT_EQ(FaultClasses(), 1);
  EXPECT_EQ(second->front()->Verify(), absl::OkStatus());
  RestoreAll(*second);
  EXPECT_EQ(FaultClasses(), 0);
}

}  // namespace
}  // namespace faultline
