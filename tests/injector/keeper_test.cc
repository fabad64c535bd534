// SPDX-License-Identifier: Apache-2.0
//
// The keeper's pause between attempts to undo what does not go; its work is a kernel test's.
#include "injector/keeper.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>

#include "base/open_mark.h"
#include "tests/fake_clock.h"

namespace faultline {
namespace {

class KeeperRest : public ::testing::Test {
 protected:
  KeeperRest() {
    std::string pattern = ::testing::TempDir() + "faultline-keeper-XXXXXX";
    folder_ = ::mkdtemp(pattern.data());
    std::ofstream(OpenMark(folder_)) << "";
  }
  ~KeeperRest() override { std::filesystem::remove_all(folder_); }

  std::int64_t Rest() {
    const std::int64_t begin_ns = clock_.Now().boottime_ns;
    Keeper::Rest(folder_, folder_, &clock_);
    return clock_.Now().boottime_ns - begin_ns;
  }

  std::string folder_;
  FakeClock clock_{true};
};

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
