// SPDX-License-Identifier: Apache-2.0
#include "tests/kernel/test_cgroup.h"

#include <gtest/gtest.h>

namespace faultline {
namespace {

TEST(TestCgroup, ChildIsInTheGroupInEveryHierarchyAndNothingStays) {
  std::vector<std::string> dirs;
  {
    auto group = TestCgroup::Create("fixture");
    ASSERT_TRUE(group.ok()) << group.status();
    absl::StatusOr<pid_t> pid = (*group)->Spawn([] {
      pause();
      return 0;
    });
    ASSERT_TRUE(pid.ok()) << pid.status();
    for (const CgroupTree::Hierarchy& hierarchy : (*group)->tree().hierarchies()) {
      absl::StatusOr<std::string> path = (*group)->tree().PathOf(*pid, hierarchy);
      ASSERT_TRUE(path.ok()) << path.status();
      EXPECT_EQ(*path, (*group)->path()) << hierarchy.mount;
      dirs.push_back(CgroupTree::Directory(hierarchy, (*group)->path()));
    }
    EXPECT_EQ((*group)->Run([] { return 7; }), 7);
  }
  EXPECT_FALSE(dirs.empty());
  for (const std::string& dir : dirs) EXPECT_NE(access(dir.c_str(), F_OK), 0) << dir;
}

}  // namespace
}  // namespace faultline
