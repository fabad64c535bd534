// SPDX-License-Identifier: Apache-2.0
//
// Control groups through libcgroup, whose state is global: cgroup.cc is its only user, behind one
// mutex. It sets values and moves processes; values are read back from the file itself, so that the
// proof does not rest on the library that made the change. Thread-safe.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/cgroup_tree.h"
#include "injector/host/host.h"

namespace faultline {

class Cgroups {
 public:
  // `tree` must outlive it.
  static absl::StatusOr<std::unique_ptr<Cgroups>> Create(const CgroupTree* tree);

  const CgroupTree& tree() const { return *tree_; }

  // The hierarchy that owns `controller`. Unimplemented: none does.
  absl::StatusOr<const CgroupTree::Hierarchy*> HierarchyOf(const std::string& controller) const;

  // Directory of `cgroup` in the hierarchy of `controller`. NotFound: it does not exist there.
  absl::StatusOr<std::string> DirectoryOf(const std::string& cgroup,
                                          const std::string& controller) const;

  // Text of `file` without the newline at its end. NotFound: the group or the file is gone.
  absl::StatusOr<std::string> Read(const std::string& cgroup, const std::string& controller,
                                   const std::string& file) const;

  // Writes it.
  absl::Status Write(const std::string& cgroup, const std::string& controller,
                     const std::string& file, const std::string& value) const;

  // Whether a process other than `except` is in the group or in one below it.
  absl::StatusOr<bool> HasProcess(const std::string& cgroup, const std::string& controller,
                                  pid_t except = 0) const;

  // Moves process `pid` into `cgroup` of the hierarchy of `controller`.
  absl::Status Attach(const std::string& cgroup, const std::string& controller, pid_t pid) const;

  // A value that is `value` while applied. Change: kind "cgroup_value", object the group, attribute
  // "controller:file".
  LeverOr ValueLever(const std::string& cgroup, const std::string& controller,
                     const std::string& file, const std::string& value) const;
  LeverOr RecoverValue(const v1::Change& change) const;

 private:
  explicit Cgroups(const CgroupTree* tree) : tree_(tree) {}
  const CgroupTree* tree_;
};

// Whether a process other than `except` is in the group at `directory` or in one below it. A group
// that does not exist has none.
bool HasProcessBelow(const std::string& directory, pid_t except = 0);

// Text of the file at `path`, as it is; ReadText: without white space at its end.
absl::StatusOr<std::string> ReadWhole(const std::string& path);
absl::StatusOr<std::string> ReadText(const std::string& path);

}  // namespace faultline
