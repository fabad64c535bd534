// SPDX-License-Identifier: Apache-2.0
//
// When the keeper takes an injector for one that stands still, and its pause between attempts to
// undo what does not go; its work is a kernel test's.
#include "injector/keeper.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "base/open_mark.h"
#include "injector/journal.h"
#include "injector/lease.h"
#include "tests/fake_clock.h"

namespace faultline {
namespace {

class KeeperTest : public ::testing::Test {
 protected:
  KeeperTest() {
    std::string pattern = ::testing::TempDir() + "faultline-keeper-XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
    std::ofstream(OpenMark(folder_)) << "";
  }
  ~KeeperTest() override { std::filesystem::remove_all(folder_); }

  std::int64_t Rest() {
    const std::int64_t begin_ns = clock_.Now().boottime_ns;
    Keeper::Rest(folder_, folder_, &clock_);
    return clock_.Now().boottime_ns - begin_ns;
  }

  std::string folder_;
  FakeClock clock_{true};
};

class KeeperRest : public KeeperTest {};

class KeeperLooks : public KeeperTest {
 protected:
  void Write(bool leased) {
    v1::FaultState state;
    state.mutable_spec()->set_id("a");
    state.mutable_spec()->set_type("cpu.limit");
    state.set_phase(v1::PHASE_VERIFIED);
    state.set_boot_id("boot");
    state.set_deadline_boottime_ns(600 * kNsPerSecond);
    state.set_leased(leased);
    const auto journal = Journal::Open(Journal::PathIn(folder_));
    ASSERT_TRUE(journal.ok()) << journal.status();
    ASSERT_TRUE((*journal)->Save(state).ok());
  }
  // At the second of two looks.
  bool IsOverdue(std::int64_t now_ns) {
    Keeper keeper(folder_, folder_, "boot", &clock_);
    EXPECT_FALSE(keeper.IsOverdue(now_ns));
    return keeper.IsOverdue(now_ns);
  }
  void Renew(Lease* lease) {
    v1::LeaseRequest request;
    request.set_ttl_ns(9 * kNsPerSecond);
    ASSERT_TRUE(lease->Renew(request, 100 * kNsPerSecond).ok());
  }
};

TEST_F(KeeperLooks, SeeTheEndOfTheLeaseOfWhatIsLeased) {
  Lease lease("", Lease::TermFile(folder_));
  Write(true);
  // Nothing is known of it.
  EXPECT_FALSE(IsOverdue(500 * kNsPerSecond));
  Renew(&lease);
  EXPECT_FALSE(IsOverdue(109 * kNsPerSecond + Keeper::kGraceNs));
  EXPECT_TRUE(IsOverdue(109 * kNsPerSecond + Keeper::kGraceNs + 1));
  EXPECT_TRUE(IsOverdue(603 * kNsPerSecond + 1));
}

TEST_F(KeeperLooks, LeaveWhatIsNotLeasedToItsDeadline) {
  Lease lease("", Lease::TermFile(folder_));
  Write(false);
  Renew(&lease);
  EXPECT_FALSE(IsOverdue(603 * kNsPerSecond));
  EXPECT_TRUE(IsOverdue(603 * kNsPerSecond + 1));
}

// It would be killed while it recovers.
TEST_F(KeeperLooks, DoNotTakeThePredecessorsLeaseForANewInjectors) {
  Write(true);
  {
    Lease lease("", Lease::TermFile(folder_));
    Renew(&lease);
  }
  EXPECT_TRUE(IsOverdue(500 * kNsPerSecond));
  const Lease next("", Lease::TermFile(folder_));
  EXPECT_FALSE(IsOverdue(500 * kNsPerSecond));
}

TEST_F(KeeperRest, LastsWhileSomethingIsOpen) {
  EXPECT_EQ(Rest(), Keeper::kRestNs);
  // Another one that undoes is no reason to look: it does what the keeper would.
  const absl::StatusOr<StateLock> lock = StateLock::TryTake(folder_, StateLock::Role::kUndo);
  ASSERT_TRUE(lock.ok());
  EXPECT_EQ(Rest(), Keeper::kRestNs);
}

TEST_F(KeeperRest, EndsWithWhatWasOpen) {
  std::filesystem::remove(OpenMark(folder_));
  EXPECT_EQ(Rest(), 0);
}

TEST_F(KeeperRest, EndsWhenTheInjectorIsBack) {
  const absl::StatusOr<StateLock> lock = StateLock::TryTake(folder_, StateLock::Role::kInjector);
  ASSERT_TRUE(lock.ok());
  EXPECT_EQ(Rest(), 0);
}

}  // namespace
}  // namespace faultline
