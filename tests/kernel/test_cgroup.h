// SPDX-License-Identifier: Apache-2.0
//
// A control group of a kernel test's own, /faultline-test-<pid>-<name>, made in every mounted
// hierarchy, so that a process put into it is in the same place for each controller and for v2.
// Its children die with the test process, the destructor thaws and kills what is still inside and
// removes the group. In cgroup v2 the root gives its groups the controllers that tests need as long
// as such a group exists. One thread.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/cgroup_tree.h"
#include "base/status.h"
#include "bpf/metric.h"
#include "tests/child.h"

namespace faultline {

class TestCgroup {
 public:
  // FailedPrecondition or PermissionDenied: this host has no hierarchy, or we are not root.
  static absl::StatusOr<std::unique_ptr<TestCgroup>> Create(const std::string& name) {
    // What tests that were killed left, once.
    static const bool swept = [] {
      RemoveLeftGroups("");
      RemoveLeftFiles();
      return true;
    }();
    static_cast<void>(swept);
    absl::StatusOr<CgroupTree> tree = CgroupTree::Read();
    if (!tree.ok()) return tree.status();
    auto group = std::unique_ptr<TestCgroup>(
        new TestCgroup(*std::move(tree), absl::StrCat("/faultline-test-", getpid(), "-", name)));
    if (absl::Status status = group->EnableControllers(); !status.ok()) return status;
    for (const CgroupTree::Hierarchy& hierarchy : group->tree_.hierarchies()) {
      const std::string dir = CgroupTree::Directory(hierarchy, group->path_);
      if (mkdir(dir.c_str(), 0755) != 0) return ErrnoStatus(errno, absl::StrCat("mkdir ", dir));
      if (absl::Status status = FillCpuset(hierarchy, dir); !status.ok()) return status;
    }
    return group;
  }

  ~TestCgroup() {
    Empty();
    for (const CgroupTree::Hierarchy& hierarchy : tree_.hierarchies()) {
      // A dying process leaves its groups a moment after it was reaped.
      for (int i = 0; i < 400 && rmdir(Dir(hierarchy).c_str()) != 0 && errno == EBUSY; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
      }
    }
    DisableControllers();
  }
  TestCgroup(const TestCgroup&) = delete;
  TestCgroup& operator=(const TestCgroup&) = delete;

  // "/faultline-test-<pid>-<name>", the same in every hierarchy.
  const std::string& path() const { return path_; }
  const CgroupTree& tree() const { return tree_; }

  // Moves process `pid` into the group in every hierarchy.
  absl::Status Add(pid_t pid) {
    for (const CgroupTree::Hierarchy& hierarchy : tree_.hierarchies()) {
      absl::Status status = WriteFile(Dir(hierarchy) + "/cgroup.procs", absl::StrCat(pid));
      if (!status.ok()) return status;
    }
    return absl::OkStatus();
  }

  // Forks a child that enters the group and then runs `body`, whose result is its exit status. It
  // is killed when this process ends, or by the destructor.
  absl::StatusOr<pid_t> Spawn(const std::function<int()>& body) {
    int gate[2];
    if (pipe2(gate, O_CLOEXEC) != 0) return ErrnoStatus(errno, "pipe");
    const pid_t pid = fork();
    if (pid < 0) return ErrnoStatus(errno, "fork");
    if (pid == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      close(gate[1]);
      char go = 0;
      const bool in_place = read(gate[0], &go, 1) == 1;
      close(gate[0]);
      _exit(in_place ? body() : 127);
    }
    close(gate[0]);
    children_.push_back(pid);
    absl::Status status = Add(pid);
    if (status.ok() && write(gate[1], "x", 1) != 1) status = ErrnoStatus(errno, "start child");
    close(gate[1]);
    if (!status.ok()) return status;
    return pid;
  }

  // Waits for a spawned child and returns its exit status, or 128 + the signal that ended it.
  int Wait(pid_t pid) {
    std::erase(children_, pid);
    int status = 0;
    while (waitpid(pid, &status, 0) < 0) {
      if (errno != EINTR) return -1;
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  // Spawns `body` and waits for its end.
  int Run(const std::function<int()>& body) {
    absl::StatusOr<pid_t> pid = Spawn(body);
    return pid.ok() ? Wait(*pid) : -1;
  }

  // The group's directory in the hierarchy of `controller` ("" = v2); empty if not mounted.
  std::string Directory(absl::string_view controller) const {
    const CgroupTree::Hierarchy* hierarchy = Find(controller);
    return hierarchy == nullptr ? "" : Dir(*hierarchy);
  }

  absl::Status Write(absl::string_view controller, const std::string& file,
                     absl::string_view value) {
    return WriteFile(absl::StrCat(Directory(controller), "/", file), value);
  }

  // Whole content of a file of the group; empty if it cannot be read.
  std::string Read(absl::string_view controller, const std::string& file) const {
    std::ifstream in(absl::StrCat(Directory(controller), "/", file));
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  }

  // How BPF programs know the group in the hierarchy of `controller` ("" = v2).
  absl::StatusOr<cgroup_key> Key(absl::string_view controller) const {
    const CgroupTree::Hierarchy* hierarchy = Find(controller);
    if (hierarchy == nullptr) {
      return absl::NotFoundError(absl::StrCat("no hierarchy has controller ", controller));
    }
    absl::StatusOr<std::uint64_t> id = CgroupTree::IdOf(Dir(*hierarchy));
    if (!id.ok()) return id.status();
    return cgroup_key{*id, hierarchy->id, 0};
  }

  // Thaws the group, kills what is inside (never this process, which goes back to where it was).
  void Empty() {
    if (const std::string dir = Directory("freezer"); !dir.empty()) {
      (void)WriteFile(dir + "/freezer.state", "THAWED");
      (void)WriteFile(dir + "/cgroup.freeze", "0");
    }
    for (const CgroupTree::Hierarchy& hierarchy : tree_.hierarchies()) {
      std::ifstream members(Dir(hierarchy) + "/cgroup.procs");
      for (pid_t pid = 0; members >> pid;) {
        if (pid == getpid()) {
          (void)WriteFile(CgroupTree::Directory(hierarchy, home_[hierarchy.id]) + "/cgroup.procs",
                          absl::StrCat(pid));
        } else if (pid > 1) {
          kill(pid, SIGKILL);
        }
      }
    }
    for (pid_t pid : children_) {
      kill(pid, SIGKILL);
      waitpid(pid, nullptr, 0);
    }
    children_.clear();
  }

 private:
  TestCgroup(CgroupTree tree, std::string path) : tree_(std::move(tree)), path_(std::move(path)) {
    for (const CgroupTree::Hierarchy& hierarchy : tree_.hierarchies()) {
      absl::StatusOr<std::string> home = tree_.PathOf(getpid(), hierarchy);
      if (home_.size() <= hierarchy.id) home_.resize(hierarchy.id + 1, "/");
      if (home.ok()) home_[hierarchy.id] = *home;
    }
  }

  // Controllers that are the v2 root's and not yet its groups': systemd enables few by itself.
  absl::Status EnableControllers() {
    counted_ = true;
    if (groups_++ > 0 || tree_.V2() == nullptr) return absl::OkStatus();
    const std::string root = tree_.V2()->mount;
    std::ifstream in(root + "/cgroup.subtree_control");
    const std::set<std::string> given{std::istream_iterator<std::string>(in), {}};
    std::ifstream all(root + "/cgroup.controllers");
    for (std::string controller; all >> controller;) {
      const bool wanted = controller == "cpu" || controller == "io" || controller == "memory";
      if (!wanted || given.contains(controller)) continue;
      absl::Status status = WriteFile(root + "/cgroup.subtree_control", "+" + controller);
      if (!status.ok()) return status;
      enabled_.push_back(controller);
    }
    return absl::OkStatus();
  }
  void DisableControllers() {
    if (!counted_ || --groups_ > 0) return;
    for (const std::string& controller : enabled_) {
      (void)WriteFile(tree_.V2()->mount + "/cgroup.subtree_control", "-" + controller);
    }
    enabled_.clear();
  }

  const CgroupTree::Hierarchy* Find(absl::string_view controller) const {
    return controller.empty() ? tree_.V2() : tree_.For(controller);
  }
  std::string Dir(const CgroupTree::Hierarchy& hierarchy) const {
    return CgroupTree::Directory(hierarchy, path_);
  }

  // A kernel file takes one write; the error of that write is the answer.
  static absl::Status WriteFile(const std::string& path, absl::string_view value) {
    const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (fd < 0) return ErrnoStatus(errno, absl::StrCat("open ", path));
    const ssize_t written = write(fd, value.data(), value.size());
    const int error = written < 0 ? errno : 0;
    close(fd);
    return ErrnoStatus(error, absl::StrCat("write ", value, " to ", path));
  }

  // A new v1 cpuset takes no process until it has CPUs and memory nodes.
  static absl::Status FillCpuset(const CgroupTree::Hierarchy& hierarchy, const std::string& dir) {
    if (hierarchy.v2) return absl::OkStatus();
    for (const char* file : {"/cpuset.cpus", "/cpuset.mems"}) {
      std::ifstream in(hierarchy.mount + file);
      std::string all;
      if (!(in >> all)) continue;
      if (absl::Status status = WriteFile(dir + file, all); !status.ok()) return status;
    }
    return absl::OkStatus();
  }

  CgroupTree tree_;
  std::string path_;
  // Where this process was, by hierarchy id.
  std::vector<std::string> home_;
  std::vector<pid_t> children_;
  bool counted_ = false;
  // Of all groups of this process.
  static inline int groups_ = 0;
  static inline std::vector<std::string> enabled_;
};

}  // namespace faultline
