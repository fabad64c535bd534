// SPDX-License-Identifier: Apache-2.0
//
// The control groups of this machine, through libcgroup, whose state is global: mounted_cgroups.cc
// is its only user, behind one mutex. It sets values and moves processes; values are read back from
// the file itself, so that the proof does not rest on the library that made the change.
// Thread-safe.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/cgroup_tree.h"
#include "injector/host/cgroup.h"

namespace faultline {

class MountedCgroups final : public Cgroups {
 public:
  static absl::StatusOr<std::unique_ptr<MountedCgroups>> Create(CgroupTree tree);

  // The group's directory in the hierarchy of `controller`. NotFound: it does not exist there.
  absl::StatusOr<std::string> DirectoryOf(const std::string& cgroup,
                                          const std::string& controller) const;
  // Groups of process `pid`, in every hierarchy, each once.
  std::vector<std::string> HomesOf(pid_t pid) const;

  absl::StatusOr<bool> IsV2(const std::string& controller) const override;
  absl::Status Check(const std::string& cgroup, const std::string& controller) const override;
  absl::Status Exists(const std::string& cgroup) const override;
  absl::StatusOr<std::vector<std::uint64_t>> Ids(const std::string& cgroup) const override;
  absl::StatusOr<std::string> Read(const std::string& cgroup, const std::string& controller,
                                   const std::string& file) const override;
  absl::StatusOr<std::string> FileOf(const std::string& cgroup, const std::string& controller,
                                     const std::string& file) const override;
  absl::Status Write(const std::string& cgroup, const std::string& controller,
                     const std::string& file, const std::string& value) override;
  absl::StatusOr<std::unique_ptr<SlowWrite>> BeginWrite(const std::string& cgroup,
                                                        const std::string& controller,
                                                        const std::string& file,
                                                        const std::string& value) override;
  absl::StatusOr<bool> HasProcess(const std::string& cgroup, const std::string& controller,
                                  const Ignored& ignored) const override;
  absl::StatusOr<std::vector<pid_t>> ProcessesOf(const std::string& cgroup) const override;
  absl::StatusOr<bool> Holds(const std::string& cgroup, pid_t pid) const override;
  bool HasAnyProcess(const std::string& cgroup) const override;
  std::vector<pid_t> MembersOf(const std::string& cgroup) const override;
  absl::StatusOr<std::string> HomeOf(pid_t pid, const std::string& controller) const override;
  absl::StatusOr<std::string> TargetOf(pid_t pid) const override;
  absl::Status Attach(const std::string& cgroup, const std::string& controller, pid_t pid) override;
  void AttachForMetrics(const std::string& cgroup, pid_t pid) override;

 private:
  explicit MountedCgroups(CgroupTree tree) : tree_(std::move(tree)) {}
  absl::StatusOr<const CgroupTree::Hierarchy*> HierarchyOf(const std::string& controller) const;
  // That of the controllers that most faults need, or else any in which the group is.
  absl::StatusOr<const CgroupTree::Hierarchy*> MainHierarchyOf(const std::string& cgroup) const;

  const CgroupTree tree_;
};

// Whether a process that counts is in the group at `directory` or in one below it. A group that
// does not exist has none.
bool HasProcessBelow(const std::string& directory, const Cgroups::Ignored& except = nullptr);

}  // namespace faultline
