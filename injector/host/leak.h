// SPDX-License-Identifier: Apache-2.0
//
// Memory held inside a control group by the helper faultline-hold (helper_lever.h). One thread at a
// time.
#pragma once

#include <cstdint>
#include <string>

#include "injector/faults/shape.h"
#include "injector/host/cgroup.h"
#include "injector/host/helpers.h"
#include "injector/host/lever.h"
#include "injector/reserve.h"

namespace faultline {

// A held amount of memory inside a control group, filled at a steady rate. Of shapes a pulse: given
// back for off_ns after each on_ns, and filled again.
struct LeakSpec {
  std::string fault_id;
  std::string cgroup;
  std::int64_t bytes = 0;
  std::int64_t bytes_per_second = 0;
  Shape shape;
  // Of the shape, CLOCK_BOOTTIME.
  std::int64_t start_ns = 0;
  // What other leaks were granted and do not hold yet, so that the host still shows it.
  std::int64_t promised_bytes = 0;
};

// FailedPrecondition: it would leave the host less than `reserve` of its memory.
LeverOr MakeLeak(Cgroups* cgroups, Helpers* helpers, Clock* clock, const Reserve& reserve,
                 const LeakSpec& spec);

// "18.6 GiB", rounded down: what is said to fit does.
std::string SpellBytes(std::int64_t bytes);

// FailedPrecondition unless `bytes` more, beside `promised`, leave `reserve` of the memory that
// `meminfo` shows.
absl::Status CheckHeadRoom(absl::string_view meminfo, std::int64_t bytes,
                           const Reserve& reserve = {.percent = 10}, std::int64_t promised = 0);

}  // namespace faultline
