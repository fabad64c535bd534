// SPDX-License-Identifier: Apache-2.0
//
// A control group of its own for one command, in every hierarchy of this host, v1 and v2 alike; on
// a systemd host a transient scope with Delegate=yes, because the tree there is systemd's. Owned by
// `exec` and by the demo's stage; main thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/cgroup_tree.h"
#include "cli/process.h"

namespace faultline::cli {

class ExecGroup {
 public:
  // Makes /`name` where it does not exist; parts of letters, digits, '.', '_' and '-', separated by
  // '/', and one '/' in front or none. FailedPrecondition: it exists in some hierarchy and holds
  // processes or groups there. InvalidArgument: no name, or the name of a file in the tree.
  static absl::StatusOr<std::unique_ptr<ExecGroup>> Create(const CgroupTree& tree,
                                                           const std::string& name);
  // Removes what is still there and empty.
  ~ExecGroup();
  ExecGroup(const ExecGroup&) = delete;
  ExecGroup& operator=(const ExecGroup&) = delete;

  // Starts `spec` inside the group. AwaitExec has been done.
  absl::StatusOr<Process> Start(SpawnSpec spec);

  // Path of the group, "/name"; on systemd known after Start.
  const std::string& path() const { return path_; }
  // systemd keeps the group, and chose its path.
  bool systemd() const { return systemd_; }
  // What could not be had, one sentence each: controllers that the parent does not give.
  const std::vector<std::string>& notes() const { return notes_; }

  // Removes every directory that Create made. Waits at most `bound` for the last process to leave;
  // FailedPrecondition: some stay, and the group with them.
  absl::Status Remove(absl::Duration bound);

 private:
  explicit ExecGroup(std::string name) : name_(std::move(name)), path_("/" + name_) {}
  absl::Status Prepare(const CgroupTree& tree);
  absl::Status MakeIn(const CgroupTree::Hierarchy& hierarchy);
  absl::Status MakeDirectory(const CgroupTree::Hierarchy& hierarchy, const std::string& dir);

  std::string name_;
  std::string path_;
  bool systemd_ = false;
  // In the order of making.
  std::vector<std::string> made_;
  std::vector<int> join_;
  std::vector<std::string> notes_;
};

}  // namespace faultline::cli
