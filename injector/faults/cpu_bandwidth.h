// SPDX-License-Identifier: Apache-2.0
//
// How much CPU time a control group may use: what the faults on CPU time read before they plan. No
// state.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "injector/host/host.h"

namespace faultline {

// Bandwidth of a group: `quota_us` of CPU time per `period_us`; no quota is no limit.
struct Bandwidth {
  std::optional<std::int64_t> quota_us;
  std::int64_t period_us = 0;
};

// CPUs of a limit.
double Ratio(const Bandwidth& limit);

// Of cpu.cfs_quota_us and cpu.cfs_period_us on cgroup v1, of cpu.max on v2.
absl::StatusOr<Bandwidth> ReadBandwidth(Host& host, const std::string& cgroup, bool v1);

// What bounds a group most: its own limit, or that of one above it.
struct CpuBound {
  double cpus = 0;
  // The group that has the limit; empty: the host has no more CPUs.
  std::string cgroup;
};
CpuBound BoundOf(Host& host, const std::string& cgroup, bool v1);

}  // namespace faultline
