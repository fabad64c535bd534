// SPDX-License-Identifier: Apache-2.0
//
// This machine's kernel, services and processes behind Kernel. Called under the controller's mutex.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "injector/host/blocks.h"
#include "injector/host/controllers.h"
#include "injector/host/kernel.h"
#include "injector/host/kernel_throttling.h"
#include "injector/host/mounted_cgroups.h"
#include "injector/host/real_net.h"
#include "injector/host/real_processes.h"
#include "injector/host/spawned_helpers.h"
#include "injector/host/units.h"

namespace faultline {

class RealKernel {
 public:
  struct Options {
    SpawnedHelpers::Options helpers;
    // Where BPF programs' counts outlive this process; no bpffs: they do not.
    std::string bpffs = "/sys/fs/bpf";
    std::string proc = "/proc";
  };

  // FailedPrecondition: no control groups are mounted. `clock` must outlive it.
  static absl::StatusOr<std::unique_ptr<RealKernel>> Create(const Options& options, Clock* clock);

  // Points into this object.
  Kernel Get();

  bool has_systemd() const { return units_ != nullptr; }

  // Control groups of process `pid`, in every hierarchy, each once.
  std::vector<std::string> HomesOf(pid_t pid) const { return cgroups_->HomesOf(pid); }

 private:
  RealKernel(const Options& options, Clock* clock)
      : clock_(clock),
        helpers_(options.helpers),
        processes_(options.proc),
        net_(options.bpffs, clock) {}

  Clock* const clock_;
  std::unique_ptr<MountedCgroups> cgroups_;
  std::unique_ptr<Subtrees> subtrees_;
  // Null: systemd is not this host's init.
  std::unique_ptr<Units> units_;
  SpawnedHelpers helpers_;
  RealProcesses processes_;
  KernelThrottling throttling_;
  RealNet net_;
  const SysBlocks blocks_;
};

// Name of this boot: /proc/sys/kernel/random/boot_id.
absl::StatusOr<std::string> ReadBootId(const std::string& proc = "/proc");

}  // namespace faultline
