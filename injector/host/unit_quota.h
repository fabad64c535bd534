// SPDX-License-Identifier: Apache-2.0
//
// cpu.max as systemd makes it of CPUQuotaPerSecUSec and CPUQuotaPeriodUSec, and what it writes into
// a drop-in for each of the two. Follows cgroup_apply_unified_cpu_quota and bus_cgroup_set_property
// of systemd 252 (src/core/cgroup.c, src/core/dbus-cgroup.c). Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace faultline {

constexpr std::uint64_t kUnitInfinity = UINT64_MAX;

// The two properties.
struct UnitQuota {
  // CPU time in us per second; kUnitInfinity: no limit.
  std::uint64_t per_second_us = kUnitInfinity;
  // kUnitInfinity: systemd's default, 100 ms.
  std::uint64_t period_us = kUnitInfinity;
};

// "25000 100000" or "max 100000".
std::string CpuMaxOf(const UnitQuota& quota);

// What makes systemd write `cpu_max`, with the period that is in force where that will do. None:
// nothing does.
std::optional<UnitQuota> QuotaFor(absl::string_view cpu_max, const UnitQuota& now);

// The lines of the drop-ins.
std::string QuotaLine(std::uint64_t per_second_us);
std::string PeriodLine(std::uint64_t period_us);

// What systemd reads from QuotaLine: it writes whole percents only. 0: nothing.
std::uint64_t QuotaAfterReload(std::uint64_t per_second_us);

}  // namespace faultline
