// SPDX-License-Identifier: Apache-2.0
//
// net.delay on this kernel, by the test's own packets: the target's are late by what was asked and
// nobody else's are; its start, its end under traffic and the death of its owner lose and reorder
// nothing. Needs netem, which a guest's kernel has (tests/vm/host_test.cc).
#include <sched.h>
#include <sys/socket.h>

#include <atomic>
#include <ctime>
#include <thread>

#include "bpf/fault.h"
#include "injector/host/netlink.h"
#include "tests/kernel/net_test.h"

namespace faultline {
namespace {

constexpr std::int64_t kMinute = 60 * kNsPerSecond;

std::int64_t RealNs() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec * kNsPerSecond + now.tv_nsec;
}

// A datagram: its number, when it was sent, and when the kernel had it at the other end.
struct Packet {
  std::uint32_t number = 0;
  std::int64_t sent_ns = 0;
  std::int64_t arrived_ns = 0;
};

std::int64_t MedianNs(const std::vector<Packet>& packets) {
  std::vector<std::int64_t> all;
  for (const Packet& one : packets) all.push_back(one.arrived_ns - one.sent_ns);
  if (all.empty()) return -1;
  std::nth_element(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(all.size() / 2),
                   all.end());
  return all[all.size() / 2];
}

// In the order of arrival: how often one came after a later one.
int Overtaken(const std::vector<Packet>& packets) {
  int count = 0;
  for (size_t i = 1; i < packets.size(); ++i) count += packets[i].number < packets[i - 1].number;
  return count;
}

class NetDelay : public NetTest {
 protected:
  // A flow of one datagram per ms from here to there, by a thread of its own.
  class Flow {
   public:
    Flow(NetDelay* test, TestCgroup* group) : receiver_(test->UdpReceiver(nullptr, true)) {
      const int on = 1;
      EXPECT_EQ(setsockopt(receiver_.fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)), 0);
      sender_ = test->UdpSender(group, false, TestNetwork::kThere, receiver_.port);
    }

    void Start() {
      stop_ = false;
      thread_ = std::jthread([this] {
        auto next = std::chrono::steady_clock::now();
        while (!stop_) {
          Send();
          next += std::chrono::milliseconds(1);
          std::this_thread::sleep_until(next);
        }
      });
    }
    void Stop() {
      stop_ = true;
      thread_.join();
    }
    void SendFor(int ms) {
      Start();
      SleepMs(ms);
      Stop();
    }
    void Send() {
      const Packet one{sent_++, RealNs(), 0};
      EXPECT_EQ(send(sender_, &one, sizeof(one), 0), ssize_t{sizeof(one)});
    }
    std::uint32_t sent() const { return sent_; }

    // In the order of arrival, until `quiet_ms` pass without one.
    std::vector<Packet> Receive(int quiet_ms) const {
      std::vector<Packet> packets;
      pollfd wait{receiver_.fd, POLLIN, 0};
      while (poll(&wait, 1, quiet_ms) == 1) packets.push_back(ReceiveOne());
      return packets;
    }

   private:
    Packet ReceiveOne() const {
      Packet one;
      iovec data{&one, sizeof(one)};
      alignas(cmsghdr) char control[CMSG_SPACE(sizeof(timespec))] = {};
      msghdr message{};
      message.msg_iov = &data;
      message.msg_iovlen = 1;
      message.msg_control = control;
      message.msg_controllen = sizeof(control);
      EXPECT_EQ(recvmsg(receiver_.fd, &message, 0), ssize_t{sizeof(one)});
      const cmsghdr* header = CMSG_FIRSTHDR(&message);
      timespec stamp{};
      if (header != nullptr) std::memcpy(&stamp, CMSG_DATA(header), sizeof(stamp));
      one.arrived_ns = stamp.tv_sec * kNsPerSecond + stamp.tv_nsec;
      return one;
    }

    Receiver receiver_;
    int sender_ = -1;
    std::uint32_t sent_ = 0;
    std::atomic<bool> stop_ = false;
    std::jthread thread_;
  };

  void SetUp() override {
    NetTest::SetUp();
    if (IsSkipped()) return;
    // That no plane is there yet is no reason: these tests make one.
    const absl::Status status = ProbeNet(Net(), "delay");
    if (absl::IsUnimplemented(status)) GTEST_SKIP() << status.message();
    ASSERT_TRUE(status.ok() || absl::IsFailedPrecondition(status)) << status;
    ASSERT_EQ(SetUpPlane(Net(), {TestNetwork::kHereDevice}).status(), absl::OkStatus());
    // The neighbours get to know each other.
    Flow first(this, nullptr);
    first.Send();
    ASSERT_EQ(first.Receive(500).size(), 1U);
  }

  DelaySpec Spec(std::int64_t delay_ms, std::int64_t jitter_ms = 0) const {
    DelaySpec spec;
    spec.fault_id = "test";
    spec.cgroup = group_->path();
    spec.device = TestNetwork::kHereDevice;
    spec.delay_ns = delay_ms * kNsPerMs;
    spec.jitter_ns = jitter_ms * kNsPerMs;
    spec.deadline_ns = BootNs() + kMinute;
    return spec;
  }
  Levers Begin(const DelaySpec& spec) const {
    absl::StatusOr<Levers> levers = MakeDelay(Net(), spec);
    EXPECT_EQ(levers.status(), absl::OkStatus());
    if (!levers.ok()) return {};
    ApplyAll(*levers);
    return *std::move(levers);
  }
  // As the controller does it.
  static void End(const Levers& levers) {
    for (bool quiet = false; !quiet;) {
      std::int64_t wait_ns = 0;
      for (auto lever = levers.rbegin(); lever != levers.rend(); ++lever) {
        wait_ns = std::max(wait_ns, (*lever)->Quiesce().value());
      }
      quiet = wait_ns == 0;
      std::this_thread::sleep_for(std::chrono::nanoseconds(wait_ns));
    }
    RestoreAll(levers);
  }
};

TEST_F(NetDelay, DelaysTheTargetByWhatWasAsked_AndNobodyElse) {
  Flow target(this, group_.get());
  Flow other(this, nullptr);
  target.SendFor(300);
  const std::int64_t before_ns = MedianNs(target.Receive(100));
  for (const std::int64_t delay_ms : {5, 50, 200}) {
    SCOPED_TRACE(delay_ms);
    const std::int64_t begin_ns = BootNs();
    const Levers levers = Begin(Spec(delay_ms));
    const std::uint32_t sent = target.sent();
    target.Start();
    other.SendFor(300);
    target.Stop();
    const std::vector<Packet> late = target.Receive(static_cast<int>(delay_ms) + 200);
    const std::vector<Packet> others = other.Receive(100);
    EXPECT_EQ(late.size(), target.sent() - sent);
    EXPECT_EQ(Overtaken(late), 0);
    const std::int64_t median_ns = MedianNs(late) - before_ns;
    std::printf("asked %d ms, got %.3f; others %.3f\n", static_cast<int>(delay_ms),
                static_cast<double>(median_ns) / 1e6, static_cast<double>(MedianNs(others)) / 1e6);
    EXPECT_NEAR(static_cast<double>(median_ns) / 1e6, static_cast<double>(delay_ms), 1);
    for (const Packet& one : late) {
      EXPECT_GE(one.arrived_ns - one.sent_ns, delay_ms * kNsPerMs) << one.number;
    }
    EXPECT_LT(MedianNs(others), before_ns + kNsPerMs);
    EXPECT_EQ(Overtaken(others), 0);
    EXPECT_EQ(DoseOf(levers, "packets_delayed"), target.sent() - sent);
    EXPECT_EQ(DoseOf(levers, "packets_steered"), target.sent() - sent);
    EXPECT_EQ(DoseOf(levers, "packets_dropped"), 0);
    EXPECT_GE(levers.back()->Measure().first_touch_ns, begin_ns);
    End(levers);
    EXPECT_EQ(FaultClasses(), 0);
  }
}

// Also with jitter, and with another flow beside it.
TEST_F(NetDelay, StartAndEndUnderTraffic_LoseAndReorderNothing) {
  constexpr int kDelayMs = 80;
  Flow target(this, group_.get());
  Flow other(this, nullptr);
  target.Start();
  other.Start();
  for (int round = 0; round < 8; ++round) {
    const Levers levers = Begin(Spec(kDelayMs, round % 2 == 0 ? 0 : 20));
    SleepMs(200);
    const std::int64_t end_ns = BootNs();
    End(levers);
    const std::int64_t took_ns = BootNs() - end_ns;
    std::printf("an end took %.1f ms\n", static_cast<double>(took_ns) / 1e6);
    // An emulated processor that is busy takes a while for each call.
    EXPECT_LT(took_ns, (kDelayMs + (round % 2 == 0 ? 0 : 20) + 300) * kNsPerMs);
    EXPECT_EQ(FaultClasses(), 0);
    SleepMs(50);
  }
  target.Stop();
  other.Stop();
  const std::vector<Packet> late = target.Receive(300);
  EXPECT_EQ(late.size(), target.sent());
  EXPECT_EQ(Overtaken(late), 0);
  const std::vector<Packet> others = other.Receive(300);
  EXPECT_EQ(others.size(), other.sent());
  EXPECT_EQ(Overtaken(others), 0);
  std::printf("%u datagrams of the target, %u of others over 8 starts and ends\n", target.sent(),
              other.sent());
}

TEST_F(NetDelay, ALevelIsAShareOfTheDelay) {
  Flow target(this, group_.get());
  target.SendFor(200);
  const std::int64_t before_ns = MedianNs(target.Receive(100));
  const Levers levers = Begin(Spec(100));
  const std::uint32_t sent = target.sent();
  for (const double level : {0.25, 0.0, 0.5}) {
    SCOPED_TRACE(level);
    for (const std::unique_ptr<Lever>& lever : levers) {
      ASSERT_EQ(lever->SetLevel(level), absl::OkStatus());
      ASSERT_EQ(lever->Verify(), absl::OkStatus());
    }
    target.SendFor(200);
    EXPECT_NEAR(static_cast<double>(MedianNs(target.Receive(200)) - before_ns) / 1e6, 100 * level,
                1);
  }
  End(levers);
  EXPECT_EQ(DoseOf(levers, "packets_delayed"), target.sent() - sent);
}

TEST_F(NetDelay, Deadline_IsKeptByTheProgramItself) {
  Flow target(this, group_.get());
  // Nobody ends it: longer than that would be steered if the program waited for what waits.
  DelaySpec spec = Spec(400);
  spec.deadline_ns = BootNs() + 100 * kNsPerMs;
  const Levers levers = Begin(spec);
  SleepMs(200);
  target.SendFor(100);
  EXPECT_LT(MedianNs(target.Receive(100)), 15 * kNsPerMs);
  EXPECT_EQ(DoseOf(levers, "packets_steered"), 0);
  End(levers);
}

TEST_F(NetDelay, OwnerKilled_NewPacketsPassAtOnce) {
  Flow target(this, group_.get());
  for (int round = 0; round < 5; ++round) {
    const Owner owner = StartOwner([&] { return MakeDelay(Net(), Spec(400)); });
    const std::uint32_t sent = target.sent();
    target.SendFor(100);
    kill(owner.pid, SIGKILL);
    waitpid(owner.pid, nullptr, 0);
    const std::uint32_t first_after = target.sent();
    target.SendFor(50);
    // Nothing is lost of what waits, and what comes now does not wait for it.
    const std::vector<Packet> packets = target.Receive(600);
    EXPECT_EQ(packets.size(), target.sent() - sent);
    for (const Packet& one : packets) {
      if (one.number < first_after) continue;
      EXPECT_LT(one.arrived_ns - one.sent_ns, 100 * kNsPerMs) << one.number;
    }
    EXPECT_EQ(FaultClasses(), 1);
    Recover(owner.changes);
    EXPECT_EQ(FaultClasses(), 0);
  }
}

TEST_F(NetDelay, Interference_IsNoticed) {
  const Levers levers = Begin(Spec(20));
  std::unique_ptr<Netlink> netlink = Netlink::Open().value();
  const NetDevice device = netlink->Device(TestNetwork::kHereDevice).value();
  // Somebody else changes the delay, then deletes the class.
  const std::vector<HtbClass> classes = netlink->Classes(device.index).value();
  for (const HtbClass& one : classes) {
    if (one.handle < FAULT_FIRST_CLASS || one.handle > FAULT_LAST_CLASS) continue;
    ASSERT_EQ(netlink->SetNetem(device.index, one.handle, {7'000, 0, 10}, false), absl::OkStatus());
    EXPECT_EQ(levers.front()->Verify().code(), absl::StatusCode::kAborted);
    ASSERT_EQ(netlink->DeleteClass(device.index, one.handle), absl::OkStatus());
  }
  EXPECT_EQ(levers.front()->Verify().code(), absl::StatusCode::kAborted);
  End(levers);
}

}  // namespace
}  // namespace faultline
