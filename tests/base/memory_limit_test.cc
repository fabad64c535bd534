// SPDX-License-Identifier: Apache-2.0
#include "base/memory_limit.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace faultline {
namespace {

class MemoryLimitTest : public testing::Test {
 protected:
  void SetUp() override {
    Write("self/mountinfo", "31 30 0:27 / " + proc_ + "/groups rw - cgroup2 cgroup2 rw\n");
    Write("self/cgroup", "0::/a/b\n");
    Write(std::to_string(::getpid()) + "/cgroup", "0::/a/b\n");
    Write("groups/cgroup.controllers", "memory\n");
  }
  void TearDown() override { std::filesystem::remove_all(proc_); }
  void Write(const std::string& name, const std::string& text) {
    const std::filesystem::path path = proc_ + "/" + name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }

  const std::string proc_ = testing::TempDir() + "memory_limit_" + std::to_string(::getpid());
};

TEST_F(MemoryLimitTest, TheSmallestOfTheOwnGroupAndThoseAboveCounts) {
  EXPECT_EQ(OwnMemoryMax(proc_), std::nullopt);
  Write("groups/a/b/memory.max", "max\n");
  EXPECT_EQ(OwnMemoryMax(proc_), std::nullopt);
  Write("groups/a/memory.max", "300\n");
  EXPECT_EQ(OwnMemoryMax(proc_), 300);
  Write("groups/a/b/memory.max", "200\n");
  EXPECT_EQ(OwnMemoryMax(proc_), 200);
}

TEST_F(MemoryLimitTest, WarnsOfWhatCannotFit) {
  EXPECT_FALSE(WarnOfMemory("--x", 1 << 30, 0, std::nullopt));
  EXPECT_FALSE(WarnOfMemory("--x", 150, 50, 200));
  EXPECT_TRUE(WarnOfMemory("--x", 151, 50, 200));
}

}  // namespace
}  // namespace faultline
