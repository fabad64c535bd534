// SPDX-License-Identifier: Apache-2.0
//
// A host of files in a temporary directory: /proc, /sys and control group hierarchies that a test
// fills. Files are rewritten in place, as the sources hold them open. Removed with the object.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/cgroup_tree.h"

namespace faultline {

// A file of tests/testdata/metrics.
inline std::string TestData(const std::string& name) {
  std::ifstream in("tests/testdata/metrics/" + name);
  EXPECT_TRUE(in.good()) << name;
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

class FakeHost {
 public:
  FakeHost()
      : root_(absl::StrCat(testing::TempDir(), "faultline-host-", ::getpid(), "-",
                           testing::UnitTest::GetInstance()->current_test_info()->name())) {
    std::filesystem::remove_all(root_);
    Write("/proc/self/cgroup", "");
    Write("/proc/self/mountinfo", "");
    std::filesystem::create_directories(sys());
  }
  ~FakeHost() { std::filesystem::remove_all(root_); }
  FakeHost(const FakeHost&) = delete;
  FakeHost& operator=(const FakeHost&) = delete;

  std::string proc() const { return root_ + "/proc"; }
  std::string sys() const { return root_ + "/sys"; }
  std::string mount(const std::string& name) const { return root_ + "/cgroup/" + name; }

  // `path` as the kernel would name it, e.g. "/proc/stat".
  void Write(const std::string& path, const std::string& text) { WriteFile(root_ + path, text); }

  // Mounts the v1 hierarchy `id` of one controller.
  void MountV1(int id, const std::string& controller) {
    std::filesystem::create_directories(mount(controller));
    Append("/proc/self/mountinfo", absl::StrCat("1 1 0:1 / ", mount(controller),
                                                " rw - cgroup cgroup rw,", controller, "\n"));
    Append("/proc/self/cgroup", absl::StrCat(id, ":", controller, ":/\n"));
  }
  void MountV2(const std::string& controllers) {
    WriteFile(mount("unified") + "/cgroup.controllers", controllers + "\n");
    Append("/proc/self/mountinfo",
           absl::StrCat("1 1 0:1 / ", mount("unified"), " rw - cgroup2 cgroup2 rw\n"));
    Append("/proc/self/cgroup", "0::/\n");
  }

  // A control group, without processes unless `procs` says otherwise.
  void MakeGroup(const std::string& hierarchy, const std::string& path,
                 const std::string& procs = "") {
    WriteFile(mount(hierarchy) + path + "/cgroup.procs", procs);
  }
  void WriteGroup(const std::string& hierarchy, const std::string& path, const std::string& file,
                  const std::string& text) {
    WriteFile(mount(hierarchy) + path + "/" + file, text);
  }
  void RemoveGroup(const std::string& hierarchy, const std::string& path) {
    std::filesystem::remove_all(mount(hierarchy) + path);
  }
  // Puts another directory in the place of a group, as when a service is restarted.
  void ReplaceGroup(const std::string& hierarchy, const std::string& path) {
    // Made while the old one is there, so that it is given another inode.
    const std::string fresh = root_ + "/fresh";
    WriteFile(fresh + "/cgroup.procs", "");
    RemoveGroup(hierarchy, path);
    std::filesystem::rename(fresh, mount(hierarchy) + path);
  }

  CgroupTree Tree() const {
    absl::StatusOr<CgroupTree> tree = CgroupTree::Read(proc());
    return tree.ok() ? *std::move(tree) : CgroupTree();
  }

 private:
  static void WriteFile(const std::string& path, const std::string& text) {
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    std::ofstream(path) << text;
  }
  void Append(const std::string& path, const std::string& text) {
    std::ofstream(root_ + path, std::ios::app) << text;
  }

  const std::string root_;
};

}  // namespace faultline
