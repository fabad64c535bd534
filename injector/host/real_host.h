// SPDX-License-Identifier: Apache-2.0
//
// The machine itself behind Host: control groups, the freezer, helper processes and the network.
// Levers hold pointers into it, so it outlives them. Called under the controller's mutex.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/cgroup_tree.h"
#include "base/clock.h"
#include "injector/host/cgroup.h"
#include "injector/host/controllers.h"
#include "injector/host/host.h"
#include "injector/host/leak.h"
#include "injector/host/units.h"

namespace faultline {

class RealHost final : public Host {
 public:
  struct Options {
    LeakOptions leak;
    // Where BPF programs' counts outlive this process; no bpffs: they do not.
    std::string bpffs = "/sys/fs/bpf";
    std::string proc = "/proc";
    // Devices that were to get a standing plane.
    std::vector<std::string> plane_devices = {};
  };

  // FailedPrecondition: no control groups are mounted.
  static absl::StatusOr<std::unique_ptr<RealHost>> Create(Options options, Clock* clock);

  LeverOr CgroupValue(const std::string& cgroup, const std::string& controller,
                      const std::string& file, const std::string& value) override;
  absl::StatusOr<std::vector<std::unique_ptr<Lever>>> HoldController(
      const std::string& cgroup, const std::string& controller) override;
  LeverOr Freezer(const std::string& cgroup) override;
  LeverOr Leak(const LeakSpec& spec) override;
  absl::StatusOr<std::vector<std::unique_ptr<Lever>>> Loss(const LossSpec& spec) override;
  absl::StatusOr<std::vector<std::unique_ptr<Lever>>> Rate(const RateSpec& spec) override;
  absl::StatusOr<std::string> ReadCgroup(const std::string& cgroup, const std::string& controller,
                                         const std::string& file) override;
  absl::StatusOr<std::string> ControllerVersion(const std::string& controller) override;
  absl::StatusOr<std::string> Resolve(const v1::Target& target) override;
  absl::StatusOr<std::vector<std::uint64_t>> GroupIds(const std::string& cgroup) override;
  int Cpus() override;
  bool HasProcess(const std::string& cgroup) override;
  absl::Status Probe(absl::string_view kind) override;
  LeverOr Recover(const v1::Change& change) override;

  // Control groups of process `pid`, in every hierarchy, each once.
  std::vector<std::string> HomesOf(pid_t pid) const;

 private:
  RealHost(Options options, Clock* clock, CgroupTree tree)
      : options_(std::move(options)), clock_(clock), tree_(std::move(tree)) {}
  ControllerHost Controllers() const { return {units_.get(), subtrees_.get(), clock_}; }
  absl::StatusOr<std::string> ResolveCgroup(const std::string& path) const;
  absl::StatusOr<std::string> ResolveUnit(const std::string& unit) const;
  absl::StatusOr<std::string> ResolvePid(pid_t pid) const;
  // The unit that systemd keeps `file` of `cgroup` for; none: a write to the file stays.
  absl::StatusOr<std::optional<Units::Unit>> KeeperOf(const std::string& cgroup,
                                                      const std::string& controller,
                                                      const std::string& file) const;

  const Options options_;
  Clock* const clock_;
  const CgroupTree tree_;
  std::unique_ptr<Cgroups> cgroups_;
  std::unique_ptr<Subtrees> subtrees_;
  // Null: systemd is not this host's init.
  std::unique_ptr<Units> units_;
};

// Name of this boot: /proc/sys/kernel/random/boot_id.
absl::StatusOr<std::string> ReadBootId(const std::string& proc = "/proc");

}  // namespace faultline
