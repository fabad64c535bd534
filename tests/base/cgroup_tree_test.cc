// SPDX-License-Identifier: Apache-2.0
#include "base/cgroup_tree.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace faultline {
namespace {

class CgroupTreeTest : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(proc_ + "/self"); }
  void TearDown() override { std::filesystem::remove_all(proc_); }
  void Write(const std::string& name, const std::string& text) {
    std::ofstream(proc_ + "/" + name) << text;
  }

  const std::string proc_ = testing::TempDir() + "cgroup_tree_" +
                            testing::UnitTest::GetInstance()->current_test_info()->name();
};

TEST_F(CgroupTreeTest, Read_HybridHost_FindsEachControllersHierarchy) {
  Write("self/mountinfo",
        "30 24 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n"
        "31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid - cgroup2 cgroup2 rw\n"
        "32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
        "33 30 0:29 / /sys/fs/cgroup/blkio rw shared:9 - cgroup cgroup rw,blkio\n");
  Write("self/cgroup", "5:blkio:/\n3:cpu,cpuacct:/a/b\n0::/c\n");
  absl::StatusOr<CgroupTree> tree = CgroupTree::Read(proc_);
  ASSERT_TRUE(tree.ok()) << tree.status();
  EXPECT_EQ(tree->mode(), "hybrid");
  ASSERT_NE(tree->For("cpu"), nullptr);
  EXPECT_EQ(tree->For("cpu")->id, 3U);
  EXPECT_EQ(tree->For("cpuacct"), tree->For("cpu"));
  EXPECT_EQ(tree->For("io")->mount, "/sys/fs/cgroup/blkio");
  EXPECT_EQ(tree->For("freezer"), nullptr);
  EXPECT_EQ(CgroupTree::Directory(*tree->For("cpu"), "/a"), "/sys/fs/cgroup/cpu,cpuacct/a");
  ASSERT_NE(tree->V2(), nullptr);
}

TEST_F(CgroupTreeTest, Read_UnifiedHost_FreezesWithoutAController) {
  Write("self/mountinfo", "31 30 0:27 / " + proc_ + " rw - cgroup2 cgroup2 rw\n");
  Write("self/cgroup", "0::/user.slice\n");
  Write("cgroup.controllers", "cpu io memory\n");
  absl::StatusOr<CgroupTree> tree = CgroupTree::Read(proc_);
  ASSERT_TRUE(tree.ok()) << tree.status();
  EXPECT_EQ(tree->mode(), "v2");
  EXPECT_EQ(tree->For("memory"), tree->V2());
  EXPECT_EQ(tree->For("freezer"), tree->V2());
  EXPECT_EQ(tree->For("hugetlb"), nullptr);
}

TEST_F(CgroupTreeTest, Read_NothingMounted_SaysSo) {
  Write("self/mountinfo", "1 0 0:1 / / rw - ext4 /dev/vda rw\n");
  Write("self/cgroup", "");
  EXPECT_EQ(CgroupTree::Read(proc_).status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(CgroupTree_ValidatePath, RefusesWhatIsNotANormalisedAbsolutePath) {
  for (const char* good : {"/", "/a", "/a/b.service", "/system.slice/x@1.service"}) {
    EXPECT_TRUE(CgroupTree::ValidatePath(good).ok()) << good;
  }
  for (const char* bad : {"", "a", "/a/", "//a", "/a//b", "/../x", "/a/./b"}) {
    EXPECT_FALSE(CgroupTree::ValidatePath(bad).ok()) << bad;
  }
  // What the kernel would read as another path than we do.
  for (const absl::string_view bad : {absl::string_view("/a\0b", 4), absl::string_view("/\0", 2),
                                      absl::string_view("/a\n"), absl::string_view("/a\x7f")}) {
    const absl::Status refused = CgroupTree::ValidatePath(bad);
    EXPECT_FALSE(refused.ok());
    EXPECT_NE(refused.message().find("control character"), absl::string_view::npos) << refused;
  }
}

}  // namespace
}  // namespace faultline
