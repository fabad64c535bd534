// SPDX-License-Identifier: Apache-2.0
//
// The programs that see when a CPU limit holds tasks back, beside what the kernel counts in
// cpu.stat and what a process in the group sees of itself.
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "injector/faults/counters.h"
#include "injector/host/kernel_throttling.h"
#include "tests/kernel/test_cgroup.h"
#include "tests/kernel/watched_spinner.h"
#include "tests/witness/now.h"
#include "tests/witness/stalls.h"

namespace faultline {
namespace {

using witness::kMs;

// 5 ms of CPU time in 50 ms.
constexpr std::int64_t kQuotaUs = 5'000;
constexpr std::int64_t kPeriodUs = 50'000;
// Far longer than this host's own pauses, far shorter than the 45 ms of a quota.
constexpr std::int64_t kSureNs = 20 * kMs;
constexpr std::int64_t kRunNs = 10 * kMs;
constexpr std::int64_t kShortestNs = kMs / 2;
// How far the first and the last touch may be from what the process saw.
constexpr double kEdgeMs = 5;
// Control groups, before the name of a file of theirs.
constexpr char kItself[] = "";
constexpr char kBelow[] = "below/";

double Ms(std::int64_t ns) { return static_cast<double>(ns) / static_cast<double>(kMs); }

// From the nearest begin of a stall to `ns`: a first period, and its stall, may be cut short
// anywhere, so that the host's own pauses before it are no shorter.
double NearestMs(const std::vector<witness::Stall>& stalls, std::uint64_t ns) {
  double nearest_ms = 1e9;
  for (const witness::Stall& stall : stalls) {
    const double ms = Ms(static_cast<std::int64_t>(ns) - stall.begin_ns);
    if (std::fabs(ms) < std::fabs(nearest_ms)) nearest_ms = ms;
  }
  return nearest_ms;
}

class ThrottlingTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root: programs are loaded";
    const absl::Status can = throttling_.Check();
    if (!can.ok()) GTEST_SKIP() << can;
    absl::StatusOr<std::unique_ptr<TestCgroup>> group = TestCgroup::Create("throttling");
    ASSERT_TRUE(group.ok()) << group.status();
    group_ = *std::move(group);
    // So that nobody else on a busy machine keeps the group's tasks waiting.
    if (!group_->Write("cpu", "cpu.shares", "16384").ok()) {
      ASSERT_TRUE(group_->Write("cpu", "cpu.weight", "1600").ok());
    }
    below_ = group_->Directory("cpu") + "/below";
    ASSERT_EQ(mkdir(below_.c_str(), 0755), 0);
  }
  void TearDown() override {
    if (group_ == nullptr) return;
    group_->Empty();
    for (int i = 0; i < 400 && rmdir(below_.c_str()) != 0; ++i) witness::SleepForMs(5);
  }

  // Programs on the group, attached.
  std::unique_ptr<ThrottleWatch> Watch() {
    absl::StatusOr<std::unique_ptr<ThrottleWatch>> watch = throttling_.Watch(group_->path());
    EXPECT_TRUE(watch.ok()) << watch.status();
    EXPECT_TRUE((*watch)->Attach().ok());
    return *std::move(watch);
  }

  // Limits the group, or one below it ("below/"), or takes the limit away.
  void SetLimit(const std::string& where, bool limited) {
    const bool v1 = !group_->Read("cpu", where + "cpu.cfs_quota_us").empty();
    const std::string quota = limited ? absl::StrCat(kQuotaUs) : v1 ? "-1" : "max";
    if (v1 && limited) {
      ASSERT_TRUE(group_->Write("cpu", where + "cpu.cfs_period_us", absl::StrCat(kPeriodUs)).ok());
    }
    const std::string file = where + (v1 ? "cpu.cfs_quota_us" : "cpu.max");
    const std::string text = v1 ? quota : absl::StrCat(quota, " ", kPeriodUs);
    ASSERT_TRUE(group_->Write("cpu", file, text).ok()) << file;
  }
  // Into the group below, which gets a controller of its own.
  void MoveBelow(pid_t pid) {
    ASSERT_TRUE(group_->Write("cpu", "below/cgroup.procs", absl::StrCat(pid)).ok());
    // On v1 there is no such file, and need not be.
    (void)group_->Write("cpu", "cgroup.subtree_control", "+cpu");
  }

  // Periods in which the group was throttled, as the kernel counts them.
  std::int64_t Periods() const { return CountOf(group_->Read("cpu", "cpu.stat"), "nr_throttled"); }

  // A process in the group that does nothing but read the clock.
  std::unique_ptr<WatchedSpinner> Spin() {
    absl::StatusOr<std::unique_ptr<WatchedSpinner>> spinner =
        WatchedSpinner::Start(group_.get(), kShortestNs);
    EXPECT_TRUE(spinner.ok()) << spinner.status();
    return *std::move(spinner);
  }

  struct Edges {
    double first_ms = 0;
    double last_ms = 0;
    // Holds that were not let go, and those that are not of a throttled period.
    double open = 0;
    double beyond = 0;
    // Longest stall before the first hold.
    double unseen_ms = 0;
    // For how long the spinner's CPU was another's at an edge.
    double blind_ms = 0;
    bool near() const {
      return std::fabs(first_ms) <= kEdgeMs && std::fabs(last_ms) <= kEdgeMs && open == 0 &&
             std::fabs(beyond) <= kBeyond && unseen_ms < Ms(kSureNs);
    }
  };
  // A hold that the end of the limit cuts short, or that the spinner's move to another CPU begins
  // in the same period, is in one count alone.
  static constexpr double kBeyond = 3;

  // Limits the group for half a second: what a watch saw must be what the kernel counted. How far
  // its edges are from what `stalls` did.
  Edges Limit(const WatchedSpinner& spinner) {
    const std::unique_ptr<ThrottleWatch> watch = Watch();
    const std::int64_t before = Periods();
    const std::int64_t begin_ns = witness::NowNs();
    SetLimit(kItself, true);
    witness::SleepForMs(500);
    SetLimit(kItself, false);
    absl::StatusOr<fault_throttle> seen = watch->Read();
    // Before 6.18 a queue is let go without a switch of its CPU, which comes when it comes.
    for (int i = 0; i < 10 && (i == 0 || (seen.ok() && seen->holds != seen->releases)); ++i) {
      witness::SleepForMs(20);
      seen = watch->Read();
    }
    EXPECT_TRUE(seen.ok()) << seen.status();
    const std::vector<witness::Stall> all = spinner.Since(begin_ns);
    const witness::Stall effect = witness::Chain(all, kSureNs, kRunNs);
    EXPECT_NE(effect.begin_ns, 0) << "no stall at all";
    const std::int64_t periods = Periods() - before;
    const auto last_ns = static_cast<std::int64_t>(seen->last_ns);
    Edges edges{NearestMs(all, seen->first_ns), Ms(last_ns - effect.end_ns)};
    std::printf("holds %llu, throttled periods %lld, first %+.3f ms, last %+.3f ms\n",
                static_cast<unsigned long long>(seen->holds), static_cast<long long>(periods),
                edges.first_ms, edges.last_ms);
    EXPECT_GE(periods, 5);
    edges.open = static_cast<double>(seen->holds - seen->releases);
    edges.beyond = static_cast<double>(seen->holds) - static_cast<double>(periods);
    edges.blind_ms = Ms(effect.blind_ns());
    for (const witness::Stall& stall : all) {
      if (stall.dark()) continue;
      const bool earlier = Ms(static_cast<std::int64_t>(seen->first_ns) - stall.begin_ns) > kEdgeMs;
      if (earlier) edges.unseen_ms = std::max(edges.unseen_ms, Ms(stall.length_ns()));
    }
    return edges;
  }

  // Where somebody else has the CPU at an edge, nobody knows when it was: no try. Four of the
  // others.
  void ExpectSeesEachStall(const WatchedSpinner& spinner) {
    Edges edges;
    int tries = 0;
    for (int i = 0; i < 40 && tries < 4 && (tries == 0 || !edges.near()); ++i) {
      edges = Limit(spinner);
      if (edges.blind_ms <= 1) ++tries;
    }
    EXPECT_GT(tries, 0) << "this machine has too much else to do";
    EXPECT_NEAR(edges.first_ms, 0, kEdgeMs);
    EXPECT_NEAR(edges.last_ms, 0, kEdgeMs);
    EXPECT_EQ(edges.open, 0);
    EXPECT_NEAR(edges.beyond, 0, kBeyond);
    EXPECT_LT(edges.unseen_ms, Ms(kSureNs)) << "a stall that was not seen";
  }

  KernelThrottling throttling_;
  std::unique_ptr<TestCgroup> group_;
  // Directory of the group below.
  std::string below_;
};

TEST_F(ThrottlingTest, SeesEachStall_WhereTheProcessItselfDoes) { ExpectSeesEachStall(*Spin()); }

TEST_F(ThrottlingTest, SeesTasksOfAGroupBelow) {
  const std::unique_ptr<WatchedSpinner> spinner = Spin();
  MoveBelow(spinner->pid());
  ExpectSeesEachStall(*spinner);
}

// The same object serves one watch after the other.
TEST_F(ThrottlingTest, EachWatchBeginsAtNothing) {
  const std::unique_ptr<WatchedSpinner> spinner = Spin();
  ExpectSeesEachStall(*spinner);
  const std::unique_ptr<ThrottleWatch> watch = Watch();
  witness::SleepForMs(100);
  const absl::StatusOr<fault_throttle> seen = watch->Read();
  ASSERT_TRUE(seen.ok()) << seen.status();
  EXPECT_EQ(seen->holds, 0u);
  EXPECT_EQ(seen->first_ns, 0u);
}

TEST_F(ThrottlingTest, SeesNothingOfALimitOfAnotherGroup) {
  const std::unique_ptr<WatchedSpinner> spinner = Spin();
  // Of a group below: its tasks are the target's, its limit is not.
  MoveBelow(spinner->pid());
  const std::unique_ptr<ThrottleWatch> watch = Watch();
  const std::int64_t begin_ns = witness::NowNs();
  SetLimit(kBelow, true);
  witness::SleepForMs(300);
  SetLimit(kBelow, false);
  EXPECT_GE(witness::Longest(spinner->Since(begin_ns)).length_ns(), kSureNs)
      << "it was not limited";
  const absl::StatusOr<fault_throttle> seen = watch->Read();
  ASSERT_TRUE(seen.ok()) << seen.status();
  EXPECT_EQ(seen->holds, 0u);
}

TEST_F(ThrottlingTest, SeesNothing_AfterItWasDetached) {
  const std::unique_ptr<WatchedSpinner> spinner = Spin();
  const std::unique_ptr<ThrottleWatch> watch = Watch();
  SetLimit(kItself, true);
  witness::SleepForMs(200);
  watch->Detach();
  const absl::StatusOr<fault_throttle> before = watch->Read();
  witness::SleepForMs(200);
  const absl::StatusOr<fault_throttle> after = watch->Read();
  SetLimit(kItself, false);
  ASSERT_TRUE(before.ok() && after.ok());
  EXPECT_GE(before->holds, 2u);
  EXPECT_EQ(after->holds, before->holds);
  EXPECT_EQ(after->last_ns, before->last_ns);
}

// A service that sleeps more often than it is preempted: its quota ends while it is asleep, and it
// is held back when it wakes.
TEST_F(ThrottlingTest, SeesATaskThatWakesIntoAThrottledQueue) {
  const absl::StatusOr<pid_t> service = group_->Spawn([] {
    while (true) {
      const std::int64_t begin_ns = witness::NowNs();
      while (witness::NowNs() - begin_ns < kMs / 5) continue;
      usleep(50);
    }
    return 0;
  });
  ASSERT_TRUE(service.ok()) << service.status();
  const std::unique_ptr<ThrottleWatch> watch = Watch();
  const std::int64_t before = Periods();
  const std::int64_t begin_ns = witness::NowNs();
  SetLimit(kItself, true);
  witness::SleepForMs(1000);
  const absl::StatusOr<fault_throttle> seen = watch->Read();
  SetLimit(kItself, false);
  ASSERT_TRUE(seen.ok()) << seen.status();
  const std::int64_t periods = Periods() - before;
  EXPECT_GE(periods, 10);
  EXPECT_NEAR(static_cast<double>(seen->holds), static_cast<double>(periods), 3);
  // 5 ms of work are over within two periods.
  EXPECT_GT(static_cast<std::int64_t>(seen->first_ns), begin_ns);
  EXPECT_LT(Ms(static_cast<std::int64_t>(seen->first_ns) - begin_ns), 100);
}

}  // namespace
}  // namespace faultline
