// SPDX-License-Identifier: Apache-2.0
//
// Memory held inside a control group by a helper process. On cgroup v1 the helper joins the group
// only where memory is counted, so that a fault which freezes the group neither stops nor protects
// it. Ends as NotFound when the group had processes and only the helper is left: it must not keep a
// target alive. Change: kind "helper", object the group. One thread at a time.
#pragma once

#include <cstdint>
#include <string>

#include "injector/host/cgroup.h"

namespace faultline {

struct LeakOptions {
  // Path of faultline-hold.
  std::string helper;
  std::string meminfo = "/proc/meminfo";
  // Where helpers report, a file for each fault; better in memory than on a disk.
  std::string report_dir = "/run/faultline";
};

// FailedPrecondition: it would leave the host less than a tenth of its memory.
LeverOr MakeLeak(const Cgroups* cgroups, const LeakOptions& options, const LeakSpec& spec);
LeverOr RecoverLeak(const Cgroups* cgroups, const v1::Change& change);

// "18.6 GiB", rounded down: what is said to fit does.
std::string SpellBytes(std::int64_t bytes);

// FailedPrecondition unless `bytes` more leave a tenth of the memory that `meminfo` shows.
absl::Status CheckHeadRoom(absl::string_view meminfo, std::int64_t bytes);

}  // namespace faultline
