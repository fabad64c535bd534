// SPDX-License-Identifier: Apache-2.0
//
// Where control groups are on this host: the mounted hierarchies of cgroup v1, v2 or both
// ("hybrid"), and which one owns a controller. A control group is named by its path relative to the
// hierarchy's root ("/faultline/web"), the same in every hierarchy that has it. Read once, then
// immutable: any thread may use it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace faultline {

class CgroupTree {
 public:
  struct Hierarchy {
    // As /proc/PID/cgroup numbers it, and cgroup_root.hierarchy_id in the kernel; 0 is v2.
    std::uint32_t id = 0;
    // "cpu", "memory", ...; for v2 those listed in the root's cgroup.controllers; "name=x" for a
    // named one.
    std::vector<std::string> controllers;
    // Mount point, e.g. "/sys/fs/cgroup/cpu".
    std::string mount;
    bool v2 = false;
  };

  // Reads `proc`/self/mountinfo and `proc`/self/cgroup. FailedPrecondition: nothing is mounted.
  static absl::StatusOr<CgroupTree> Read(const std::string& proc = "/proc");

  // "v1", "hybrid" or "v2".
  absl::string_view mode() const;
  const std::vector<Hierarchy>& hierarchies() const { return hierarchies_; }

  // The hierarchy that owns `controller`; null if no mounted one does. "freezer" on v2 is the v2
  // hierarchy itself, which freezes without a controller.
  const Hierarchy* For(absl::string_view controller) const;
  // The v2 hierarchy; null on pure v1.
  const Hierarchy* V2() const;

  // Control group of process `pid` in `hierarchy`. NotFound: no such process.
  absl::StatusOr<std::string> PathOf(pid_t pid, const Hierarchy& hierarchy) const;

  // Directory of control group `path` in `hierarchy`.
  static std::string Directory(const Hierarchy& hierarchy, absl::string_view path);

  // The kernel's kernfs id of directory `dir`, unique within its hierarchy: what
  // bpf_get_current_cgroup_id() and cgroup->kn->id yield. The inode number on 64-bit kernels.
  static absl::StatusOr<std::uint64_t> IdOf(const std::string& dir);

  // InvalidArgument unless `path` is absolute, normalised (no "//", "." or ".." part) and shorter
  // than PATH_MAX.
  static absl::Status ValidatePath(absl::string_view path);

 private:
  std::string proc_;
  std::vector<Hierarchy> hierarchies_;
};

}  // namespace faultline
