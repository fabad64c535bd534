// SPDX-License-Identifier: Apache-2.0
//
// The real injector in a network of the test's own: the target's packets leave by its end of a veth
// pair, which has the standing plane, and the counts of BPF programs are kept on a bpffs of the
// test's own, mounted where nobody else sees it. One thread.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "tests/kernel/fault_bpffs.h"
#include "tests/kernel/fault_fixture.h"
#include "tests/kernel/test_netns.h"
#include "tests/kernel/udp_path.h"

namespace faultline {

class NetFaultTest : public FaultTest {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root: namespaces and control groups are made";
    bpffs_ = std::make_unique<TestBpffs>();
    ASSERT_TRUE(bpffs_->mounted()) << "every kernel with BPF has a bpffs";
    absl::StatusOr<std::unique_ptr<TestNetwork>> network = TestNetwork::Create();
    if (absl::IsUnimplemented(network.status())) GTEST_SKIP() << network.status();
    ASSERT_TRUE(network.ok()) << network.status();
    network_ = *std::move(network);
    injector_.SetOptions(Options(bpffs_->path()));
    FaultTest::SetUp();
    if (group_ == nullptr || IsSkipped()) return;
    if (group_->tree().V2() == nullptr) GTEST_SKIP() << "no cgroup v2 hierarchy is mounted";
    devices_ = {static_cast<int>(if_nametoindex(TestNetwork::kHereDevice))};
    before_ = Digest();
  }
  void TearDown() override {
    for (const int fd : descriptors_) close(fd);
    FaultTest::TearDown();
    if (bpffs_ != nullptr && bpffs_->mounted()) {
      EXPECT_TRUE(bpffs_->Empty());
    }
  }

  static std::vector<std::string> Options(const std::string& bpffs) {
    return {"--plane-device", TestNetwork::kHereDevice, "--bpffs", bpffs};
  }
  // Starts the injector again with `more` options, without the planes that it had made.
  void RestartWith(const std::vector<std::string>& more) {
    ASSERT_EQ(injector_.End(SIGTERM), 0);
    ASSERT_EQ(injector_.Run({"--state-dir", injector_.folder() / "state", "--remove-planes"}), 0);
    std::vector<std::string> options{"--bpffs", bpffs_->path()};
    options.insert(options.end(), more.begin(), more.end());
    injector_.SetOptions(options);
    ASSERT_TRUE(injector_.Start().ok());
  }
  // As it was for every test of the fixture.
  void RestartAsBefore() { RestartWith({"--plane-device", TestNetwork::kHereDevice}); }
  // Starts the injector again, as if there were no bpffs.
  void RestartWithoutBpffs() {
    ASSERT_EQ(injector_.End(SIGTERM), 0);
    injector_.SetOptions(Options("/proc"));
    ASSERT_TRUE(injector_.Start().ok());
  }

  // Numbered datagrams from one end of the pair to the other; the sender's own count of what was
  // lost.
  struct Flow {
    int sender = -1;
    int receiver = -1;
    std::uint32_t sent = 0;
    // CLOCK_BOOTTIME ns before each send.
    std::vector<std::int64_t> sent_ns;
    // By number, after Drain.
    std::vector<bool> arrived;

    void Send() {
      sent_ns.push_back(Clock::System().Now().boottime_ns);
      EXPECT_EQ(send(sender, &sent, sizeof(sent), 0), ssize_t{sizeof(sent)});
      ++sent;
    }
    void Drain() {
      arrived.assign(sent, false);
      SleepMs(200);
      std::uint32_t number = 0;
      while (recv(receiver, &number, sizeof(number), MSG_DONTWAIT) == sizeof(number)) {
        if (number < sent) arrived[number] = true;
      }
    }
    std::int64_t Lost() const { return std::count(arrived.begin(), arrived.end(), false); }
    // When the first and the last lost one were sent; 0 = none.
    std::int64_t FirstLostNs() const {
      const auto at = std::find(arrived.begin(), arrived.end(), false);
      return at == arrived.end() ? 0 : sent_ns[static_cast<size_t>(at - arrived.begin())];
    }
    std::int64_t LastLostNs() const {
      const auto at = std::find(arrived.rbegin(), arrived.rend(), false);
      return at == arrived.rend() ? 0 : sent_ns[static_cast<size_t>(arrived.rend() - at - 1)];
    }
  };

  // `out`: from the target to the other end; else the other way.
  Flow MakeFlow(bool out) {
    Flow flow;
    const absl::StatusOr<UdpPath> path = MakeUdpPath(*network_, group_.get(), out);
    EXPECT_TRUE(path.ok()) << path.status();
    if (!path.ok()) return flow;
    flow.sender = Keep(path->sender);
    flow.receiver = Keep(path->receiver);
    return flow;
  }

  std::unique_ptr<TestBpffs> bpffs_;
  std::unique_ptr<TestNetwork> network_;

 private:
  int Keep(int fd) {
    EXPECT_GE(fd, 0);
    descriptors_.push_back(fd);
    return fd;
  }
  std::vector<int> descriptors_;
};

}  // namespace faultline
