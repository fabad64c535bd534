// SPDX-License-Identifier: Apache-2.0
#include "collector/lease_keeper.h"

#include <gtest/gtest.h>

#include <memory>
#include <thread>

#include "collector/collector.h"
#include "tests/child.h"
#include "tests/collector/fake_node.h"
#include "tests/fake_clock.h"

namespace faultline {
namespace {

class LeaseKeeperTest : public ::testing::Test {
 protected:
  void SetUp() override {
    CollectorOptions options;
    options.listen = "";
    options.state_dir = dir_.path() + "/state";
    absl::StatusOr<std::unique_ptr<Collector>> collector = Collector::Start(options, &clock_);
    ASSERT_TRUE(collector.ok()) << collector.status();
    collector_ = *std::move(collector);
  }

  const TempDir dir_;
  FakeClock clock_;
  std::unique_ptr<Collector> collector_;
};

TEST_F(LeaseKeeperTest, TellsANodeWithItsWelcome_AndEvery3s) {
  FakeNode node(collector_->InProcessChannel());
  // The node's clock is its own; what is repeated of it was read by the collector's.
  constexpr std::int64_t kNodeNs = 77;
  const std::int64_t hello_ns = clock_.Now().boottime_ns;
  node.Hello(TestHello("n1", "epoch-0123456789"), kNodeNs);
  // The first lease may come before the node counts as connected, to which the next one is due.
  while (collector_->fleet().Connected().empty()) std::this_thread::yield();
  std::int64_t sent_ns = hello_ns;
  for (int i = 0; i < 3; ++i) {
    const v1::Lease lease = node.ReadLease();
    EXPECT_EQ(lease.ttl_ns(), LeaseKeeper::kTtlNs);
    EXPECT_GE(lease.sent_boottime_ns(), sent_ns);
    EXPECT_EQ(lease.heard_sent_boottime_ns(), kNodeNs);
    EXPECT_EQ(lease.heard_read_boottime_ns(), hello_ns);
    sent_ns = lease.sent_boottime_ns() + LeaseKeeper::kEveryNs;
    clock_.Advance(LeaseKeeper::kEveryNs);
  }
}

TEST_F(LeaseKeeperTest, RepeatsTheNewestThatItHeard) {
  FakeNode node(collector_->InProcessChannel());
  node.Hello(TestHello("n1", "epoch-0123456789"), 77);
  EXPECT_EQ(node.ReadLease().heard_sent_boottime_ns(), 77);
  clock_.Advance(kNsPerSecond);
  const std::int64_t read_ns = clock_.Now().boottime_ns;
  // Once it is welcome again, it was read.
  node.Hello(TestHello("n1", "epoch-0123456789"), 78);
  const v1::Lease lease = node.ReadLease();
  EXPECT_EQ(lease.heard_sent_boottime_ns(), 78);
  EXPECT_EQ(lease.heard_read_boottime_ns(), read_ns);
}

// A node whose faults end at the end of the lease is left alone in time, whatever happened.
TEST_F(LeaseKeeperTest, LeavesTimeForTheWayAndTheUndo) {
  EXPECT_LE(LeaseKeeper::kTtlNs + 5 * kNsPerSecond, 15 * kNsPerSecond);
  EXPECT_LE(2 * LeaseKeeper::kEveryNs, LeaseKeeper::kTtlNs);
}

}  // namespace
}  // namespace faultline
