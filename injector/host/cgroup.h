// SPDX-License-Identifier: Apache-2.0
//
// Control groups as the levers read and change them. mounted_cgroups.h has this machine's, the
// tests have their own. Thread-safe.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "injector/host/slow_write.h"

namespace faultline {

class Cgroups {
 public:
  virtual ~Cgroups() = default;

  // Whether the hierarchy that owns `controller` is v2. Unimplemented: none does.
  virtual absl::StatusOr<bool> IsV2(const std::string& controller) const = 0;
  // OK if the group exists where `controller` is. NotFound: it does not.
  virtual absl::Status Check(const std::string& cgroup, const std::string& controller) const = 0;
  // OK if it exists in any hierarchy. InvalidArgument: that is no path of a group.
  virtual absl::Status Exists(const std::string& cgroup) const = 0;
  // What tells the group from another of the same path: its id in each hierarchy, 0 where it is
  // not. NotFound: it is in none.
  virtual absl::StatusOr<std::vector<std::uint64_t>> Ids(const std::string& cgroup) const = 0;

  // Text of `file` without the newline at its end. NotFound: the group or the file is gone.
  virtual absl::StatusOr<std::string> Read(const std::string& cgroup, const std::string& controller,
                                           const std::string& file) const = 0;
  virtual absl::Status Write(const std::string& cgroup, const std::string& controller,
                             const std::string& file, const std::string& value) = 0;

  // The same of a file that FreesMemory (slow_write.h), without waiting for the kernel.
  virtual absl::StatusOr<std::unique_ptr<SlowWrite>> BeginWrite(const std::string& cgroup,
                                                                const std::string& controller,
                                                                const std::string& file,
                                                                const std::string& value) = 0;

  // Path of `file`, for who may read it and has no way there. NotFound: the group or the file is
  // gone.
  virtual absl::StatusOr<std::string> FileOf(const std::string& cgroup,
                                             const std::string& controller,
                                             const std::string& file) const = 0;

  // Processes that do not count; null: all do.
  using Ignored = std::function<bool(pid_t pid)>;
  // Whether a process is in the group or in one below it, where `controller` is.
  virtual absl::StatusOr<bool> HasProcess(const std::string& cgroup, const std::string& controller,
                                          const Ignored& ignored) const = 0;
  // The same in any hierarchy.
  virtual bool HasAnyProcess(const std::string& cgroup) const = 0;
  // Processes in the group and in those below it, by number; where hierarchies disagree, in that of
  // the one that most faults need. NotFound: the group is gone.
  virtual absl::StatusOr<std::vector<pid_t>> ProcessesOf(const std::string& cgroup) const = 0;
  // The same of all hierarchies together; none where the group is gone.
  virtual std::vector<pid_t> MembersOf(const std::string& cgroup) const = 0;
  // Whether process `pid` is one of ProcessesOf. NotFound: there is no such process, or no such
  // group.
  virtual absl::StatusOr<bool> Holds(const std::string& cgroup, pid_t pid) const = 0;
  // The group of process `pid` where `controller` is. NotFound: there is no such process.
  virtual absl::StatusOr<std::string> HomeOf(pid_t pid, const std::string& controller) const = 0;
  // The group that a fault on process `pid` acts on: where hierarchies disagree, that of the one
  // that most faults need.
  virtual absl::StatusOr<std::string> TargetOf(pid_t pid) const = 0;
  // Moves process `pid` into `cgroup` where `controller` is.
  virtual absl::Status Attach(const std::string& cgroup, const std::string& controller,
                              pid_t pid) = 0;
  // Moves it into the v2 group of that path too where that does nothing but tell metrics apart.
  virtual void AttachForMetrics(const std::string& cgroup, pid_t pid) = 0;
};

}  // namespace faultline
