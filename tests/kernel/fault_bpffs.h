// SPDX-License-Identifier: Apache-2.0
//
// A bpffs of a test's own, in a temporary folder and in a mount namespace of the test's thread and
// its children, so that the kernel removes it with them, whatever happens. One thread.
#pragma once

#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <string>

namespace faultline {

class TestBpffs {
 public:
  TestBpffs() {
    std::string name = "/tmp/faultline-bpffs-XXXXXX";
    if (mkdtemp(name.data()) == nullptr) std::abort();
    path_ = name;
    // EINVAL: the root is no mount point, as in a chroot; then the destructor's unmount must do.
    mounted_ =
        unshare(CLONE_NEWNS) == 0 &&
        (mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 || errno == EINVAL) &&
        mount("bpf", path_.c_str(), "bpf", 0, nullptr) == 0;
  }
  ~TestBpffs() {
    if (mounted_) umount2(path_.c_str(), MNT_DETACH);
    rmdir(path_.c_str());
  }
  TestBpffs(const TestBpffs&) = delete;
  TestBpffs& operator=(const TestBpffs&) = delete;

  bool mounted() const { return mounted_; }
  const std::string& path() const { return path_; }
  // Nothing of a fault is left on it.
  bool Empty() const { return !std::filesystem::exists(path_ + "/faultline"); }

 private:
  std::string path_;
  bool mounted_ = false;
};

}  // namespace faultline
