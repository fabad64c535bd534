// SPDX-License-Identifier: Apache-2.0
//
// Controllers of the kernel's own cgroup v2 that are turned on for a group, level by level, and off
// again: with whichever controller v2 has here, hugetlb beside cgroup v1.
#include "injector/host/controllers.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "injector/host/mounted_cgroups.h"
#include "tests/kernel/test_cgroup.h"

namespace faultline {
namespace {

class ControllersTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root: control groups are made";
    absl::StatusOr<std::unique_ptr<TestCgroup>> group = TestCgroup::Create("controllers");
    ASSERT_TRUE(group.ok()) << group.status();
    group_ = std::move(*group);
    v2_ = group_->tree().V2();
    if (v2_ == nullptr || v2_->controllers.empty()) GTEST_SKIP() << "cgroup v2 has no controller";
    const auto& all = v2_->controllers;
    const bool pages = std::find(all.begin(), all.end(), "hugetlb") != all.end();
    controller_ = pages ? "hugetlb" : all.front();
    for (const std::string& path : {Inner(), Innermost()}) {
      ASSERT_EQ(mkdir(CgroupTree::Directory(*v2_, path).c_str(), 0755), 0) << path;
    }
    absl::StatusOr<std::unique_ptr<MountedCgroups>> cgroups =
        MountedCgroups::Create(group_->tree());
    ASSERT_TRUE(cgroups.ok()) << cgroups.status();
    cgroups_ = std::move(*cgroups);
    subtrees_ = std::make_unique<CgroupSubtrees>(cgroups_.get());
    host_.subtrees = subtrees_.get();
    host_.clock = &Clock::System();
    before_ = On();
  }
  void TearDown() override {
    if (v2_ == nullptr) return;
    for (const std::string& path : {Innermost(), Inner()}) {
      rmdir(CgroupTree::Directory(*v2_, path).c_str());
    }
  }

  std::string Inner() const { return group_->path() + "/inner"; }
  std::string Innermost() const { return group_->path() + "/inner/most"; }

  // Groups that have the controller on for those in them, as the kernel says.
  std::vector<std::string> On() const {
    std::vector<std::string> on;
    for (const std::string& path : {std::string("/"), group_->path(), Inner()}) {
      std::ifstream in(CgroupTree::Directory(*v2_, path) + "/cgroup.subtree_control");
      const std::vector<std::string> words{std::istream_iterator<std::string>(in), {}};
      if (std::find(words.begin(), words.end(), controller_) != words.end()) on.push_back(path);
    }
    return on;
  }
  bool HasFiles(const std::string& path) const {
    std::ifstream in(CgroupTree::Directory(*v2_, path) + "/cgroup.controllers");
    const std::vector<std::string> words{std::istream_iterator<std::string>(in), {}};
    return std::find(words.begin(), words.end(), controller_) != words.end();
  }
  void Write(const std::string& path, const std::string& word) const {
    std::ofstream out(CgroupTree::Directory(*v2_, path) + "/cgroup.subtree_control");
    out << word << std::flush;
    EXPECT_TRUE(out) << word << " to " << path;
  }

  std::unique_ptr<TestCgroup> group_;
  const CgroupTree::Hierarchy* v2_ = nullptr;
  std::string controller_;
  std::unique_ptr<MountedCgroups> cgroups_;
  std::unique_ptr<Subtrees> subtrees_;
  ControllerHost host_;
  std::vector<std::string> before_;
};

TEST_F(ControllersTest, AreTurnedOnFromTheTopAndOffByWhoeverHasTheJournal) {
  auto levers = MakeControllers(host_, Innermost(), controller_);
  ASSERT_TRUE(levers.ok()) << levers.status();
  EXPECT_EQ(On(), before_);
  EXPECT_FALSE(HasFiles(Innermost()));
  for (const auto& lever : *levers) ASSERT_TRUE(lever->Apply().ok());
  for (const auto& lever : *levers) EXPECT_TRUE(lever->Verify().ok());
  EXPECT_TRUE(HasFiles(Innermost()));
  EXPECT_EQ(On(), (std::vector<std::string>{"/", group_->path(), Inner()}));
  // By another process, and twice.
  for (int i = 0; i < 2; ++i) {
    for (auto lever = levers->rbegin(); lever != levers->rend(); ++lever) {
      auto recovered = RecoverController(host_, (*lever)->change());
      ASSERT_TRUE(recovered.ok());
      EXPECT_TRUE((*recovered)->Restore().ok());
      EXPECT_TRUE((*recovered)->Residue().ok());
    }
    EXPECT_EQ(On(), before_);
  }
  EXPECT_TRUE(absl::IsAborted(levers->back()->Verify()));
}

TEST_F(ControllersTest, AreLeftOnWhereSomebodyBelowUsesThemByNow) {
  auto levers = MakeControllers(host_, Inner(), controller_);
  ASSERT_TRUE(levers.ok()) << levers.status();
  for (const auto& lever : *levers) ASSERT_TRUE(lever->Apply().ok());
  Write(Inner(), "+" + controller_);
  const absl::Status busy = levers->back()->Restore();
  EXPECT_TRUE(absl::IsAborted(busy)) << busy;
  EXPECT_EQ(On().back(), Inner());
  Write(Inner(), "-" + controller_);
  for (auto lever = levers->rbegin(); lever != levers->rend(); ++lever) {
    EXPECT_TRUE((*lever)->Restore().ok());
  }
  EXPECT_EQ(On(), before_);
}

TEST_F(ControllersTest, GroupThatIsGone_TookThemAlong) {
  auto levers = MakeControllers(host_, Innermost(), controller_);
  ASSERT_TRUE(levers.ok()) << levers.status();
  for (const auto& lever : *levers) ASSERT_TRUE(lever->Apply().ok());
  for (const std::string& path : {Innermost(), Inner()}) {
    ASSERT_EQ(rmdir(CgroupTree::Directory(*v2_, path).c_str()), 0);
  }
  EXPECT_TRUE(absl::IsNotFound(levers->back()->Verify()));
  for (auto lever = levers->rbegin(); lever != levers->rend(); ++lever) {
    EXPECT_TRUE((*lever)->Restore().ok());
    EXPECT_TRUE((*lever)->Residue().ok());
  }
  const std::vector<std::string> on = On();
  EXPECT_EQ(on, before_);
}

}  // namespace
}  // namespace faultline
