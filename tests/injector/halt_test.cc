// SPDX-License-Identifier: Apache-2.0
#include "injector/halt.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace faultline {
namespace {

class HaltTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = ::testing::TempDir() + "halt-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    path_ = name + "/halted";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string folder_;
  std::string path_;
};

TEST_F(HaltTest, StaysEngagedUntilReleased) {
  EXPECT_FALSE(HaltLatch(path_).engaged());
  HaltLatch first(path_);
  first.Engage("smoke in the rack");
  EXPECT_TRUE(first.engaged());
  ASSERT_TRUE(first.Keep().ok());
  HaltLatch next(path_);
  EXPECT_TRUE(next.engaged());
  EXPECT_EQ(next.reason(), "smoke in the rack");
  ASSERT_TRUE(next.Release().ok());
  EXPECT_FALSE(next.engaged());
  EXPECT_FALSE(HaltLatch(path_).engaged());
}

TEST_F(HaltTest, CountsAnEmptyFileAsEngaged) {
  std::ofstream(path_).close();
  const HaltLatch latch(path_);
  EXPECT_TRUE(latch.engaged());
  EXPECT_FALSE(latch.reason().empty());
}

TEST_F(HaltTest, IsInForce_EvenIfItCannotBeKept) {
  HaltLatch latch(folder_ + "/none/halted");
  latch.Engage("no disk");
  EXPECT_FALSE(latch.Keep().ok());
  EXPECT_TRUE(latch.engaged());
}

}  // namespace
}  // namespace faultline
