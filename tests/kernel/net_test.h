// SPDX-License-Identifier: Apache-2.0
//
// What the kernel tests of the network faults share: the fixture with its network and its target
// group, numbered datagrams, and an owner process that can be killed while it holds a fault.
#pragma once

#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "bpf/fault.h"
#include "injector/host/net.h"
#include "injector/host/netlink.h"
#include "injector/host/real_net.h"
#include "tests/kernel/test_netns.h"

namespace faultline {

using Levers = std::vector<std::unique_ptr<Lever>>;

inline std::int64_t DoseOf(const Levers& levers, const std::string& name) {
  std::int64_t sum = 0;
  for (const std::unique_ptr<Lever>& lever : levers) {
    const Evidence evidence = lever->Measure();
    for (const v1::Dose& dose : evidence.dose) {
      if (dose.name() == name) sum += dose.value();
    }
  }
  return sum;
}

inline std::int64_t BootNs() { return Clock::System().Now().boottime_ns; }

inline void SleepMs(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

class NetTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "network faults need root";
    absl::StatusOr<std::unique_ptr<TestNetwork>> network = TestNetwork::Create();
    if (absl::IsUnimplemented(network.status())) GTEST_SKIP() << network.status();
    ASSERT_TRUE(network.ok()) << network.status();
    network_ = *std::move(network);
    absl::StatusOr<std::unique_ptr<TestCgroup>> group = TestCgroup::Create("net");
    ASSERT_TRUE(group.ok()) << group.status();
    group_ = *std::move(group);
    if (group_->tree().V2() == nullptr) GTEST_SKIP() << "no cgroup v2 hierarchy is mounted";
  }

  void TearDown() override {
    for (int fd : descriptors_) close(fd);
  }

  // Of the plane here, and those of them that a fault made.
  static std::vector<HtbClass> Classes() {
    std::unique_ptr<Netlink> netlink = Netlink::Open().value();
    const NetDevice device = netlink->Device(TestNetwork::kHereDevice).value();
    return netlink->Classes(device.index).value();
  }
  static int FaultClasses() {
    int count = 0;
    for (const HtbClass& one : Classes()) {
      if (one.handle >= FAULT_FIRST_CLASS && one.handle <= FAULT_LAST_CLASS) ++count;
    }
    return count;
  }

  // A socket that is closed at the end of the test; `group` null = not the target's.
  int Socket(TestCgroup* group, int domain, int type, int protocol = 0) {
    const int fd = TestNetwork::Socket(group, domain, type, protocol);
    EXPECT_GE(fd, 0);
    descriptors_.push_back(fd);
    return fd;
  }

  // A receiver bound on `ip`; "here" it may be of the target, "there" it never is.
  struct Receiver {
    int fd = -1;
    std::uint16_t port = 0;
  };
  Receiver UdpReceiver(TestCgroup* group, bool there) {
    Receiver receiver;
    const auto make = [&] {
      receiver.fd = Socket(group, AF_INET, SOCK_DGRAM);
      const int size = 64 << 20;
      EXPECT_EQ(setsockopt(receiver.fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)), 0);
      receiver.port =
          TestNetwork::Bind(receiver.fd, there ? TestNetwork::kThere : TestNetwork::kHere);
    };
    there ? network_->InThere(make) : make();
    EXPECT_NE(receiver.port, 0);
    return receiver;
  }
  Receiver TcpListener(bool there) {
    Receiver receiver;
    const auto make = [&] {
      receiver.fd = Socket(nullptr, AF_INET, SOCK_STREAM);
      receiver.port =
          TestNetwork::Bind(receiver.fd, there ? TestNetwork::kThere : TestNetwork::kHere);
      EXPECT_EQ(listen(receiver.fd, 16), 0);
    };
    there ? network_->InThere(make) : make();
    return receiver;
  }

  // A UDP socket connected to `ip`:`port`, of the namespace `from_there`.
  int UdpSender(TestCgroup* group, bool from_there, const char* ip, std::uint16_t port) {
    int fd = -1;
    const auto make = [&] {
      fd = Socket(group, AF_INET, SOCK_DGRAM);
      EXPECT_EQ(TestNetwork::Connect(fd, ip, port), 0);
    };
    from_there ? network_->InThere(make) : make();
    return fd;
  }

  // Sends datagrams numbered from `first`; returns how many sends failed.
  static int SendNumbered(int fd, std::uint32_t count, std::uint32_t first = 0) {
    int failures = 0;
    for (std::uint32_t i = 0; i < count; ++i) {
      const std::uint32_t number = first + i;
      if (send(fd, &number, sizeof(number), 0) != sizeof(number)) ++failures;
    }
    return failures;
  }

  // Every number that arrives until `quiet_ms` pass without one.
  static std::vector<std::uint32_t> ReceiveNumbers(int fd, int quiet_ms = 50) {
    std::vector<std::uint32_t> numbers;
    pollfd wait{fd, POLLIN, 0};
    while (poll(&wait, 1, quiet_ms) == 1) {
      std::uint32_t number = 0;
      while (recv(fd, &number, sizeof(number), MSG_DONTWAIT) == sizeof(number)) {
        numbers.push_back(number);
      }
    }
    return numbers;
  }

  static void ApplyAll(const Levers& levers) {
    for (const std::unique_ptr<Lever>& lever : levers) {
      ASSERT_EQ(lever->Apply(), absl::OkStatus());
      ASSERT_EQ(lever->Verify(), absl::OkStatus());
    }
  }
  // Again while it only takes its time, as the controller does.
  static absl::Status Restore(Lever& lever) {
    absl::Status status = lever.Restore();
    while (!status.ok() && lever.wait_ns() > 0) {
      std::this_thread::sleep_for(std::chrono::nanoseconds(lever.wait_ns()));
      status = lever.Restore();
    }
    return status;
  }
  static void RestoreAll(const Levers& levers) {
    for (auto lever = levers.rbegin(); lever != levers.rend(); ++lever) {
      ASSERT_EQ(Restore(**lever), absl::OkStatus());
    }
    for (const std::unique_ptr<Lever>& lever : levers) {
      ASSERT_EQ(lever->Residue(), absl::OkStatus());
    }
  }

  // A process that made levers, applied them and waits to be killed; and what it would journal.
  struct Owner {
    pid_t pid = -1;
    std::vector<v1::Change> changes;
  };
  static Owner StartOwner(const std::function<absl::StatusOr<Levers>()>& make) {
    Owner owner;
    int ready[2];
    if (pipe2(ready, O_CLOEXEC) != 0) return owner;
    owner.pid = fork();
    if (owner.pid == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      absl::StatusOr<Levers> levers = make();
      v1::Plan journal;
      for (size_t i = 0; levers.ok() && i < levers->size(); ++i) {
        if (!(*levers)[i]->Apply().ok()) _exit(1);
        *journal.add_changes() = (*levers)[i]->change();
      }
      (void)journal.SerializeToFileDescriptor(ready[1]);
      close(ready[1]);
      while (true) pause();
    }
    close(ready[1]);
    v1::Plan journal;
    EXPECT_TRUE(journal.ParseFromFileDescriptor(ready[0]));
    EXPECT_GT(journal.changes_size(), 0) << "the owner could not apply its levers";
    close(ready[0]);
    owner.changes.assign(journal.changes().begin(), journal.changes().end());
    return owner;
  }

  // What a successor does with the journal of a killed owner.
  void Recover(const std::vector<v1::Change>& changes) {
    for (auto change = changes.rbegin(); change != changes.rend(); ++change) {
      LeverOr lever = RecoverNet(Net(), *change);
      ASSERT_EQ(lever.status(), absl::OkStatus());
      EXPECT_EQ(Restore(**lever), absl::OkStatus());
      EXPECT_EQ((*lever)->Residue(), absl::OkStatus());
    }
  }

  virtual NetKernel Net() const { return net_.Get(); }

  std::unique_ptr<TestNetwork> network_;
  std::unique_ptr<TestCgroup> group_;
  mutable RealNet net_;
  std::vector<int> descriptors_;
};

}  // namespace faultline
