// SPDX-License-Identifier: Apache-2.0
#include "injector/host/leak.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "injector/host/helper_lever.h"
#include "injector/host/hold.h"
#include "injector/meminfo.h"

namespace faultline {
std::string SpellBytes(std::int64_t bytes) {
  constexpr std::pair<const char*, std::int64_t> kUnits[] = {{"TiB", std::int64_t{1} << 40},
                                                             {"GiB", std::int64_t{1} << 30},
                                                             {"MiB", std::int64_t{1} << 20},
                                                             {"KiB", std::int64_t{1} << 10}};
  for (const auto& unit : kUnits) {
    if (bytes < unit.second) continue;
    // In 1024ths of the unit first: the greatest size times ten would not fit.
    const std::int64_t tenths = bytes / (unit.second / 1024) * 10 / 1024;
    const std::string tail = tenths % 10 == 0 ? "" : absl::StrCat(".", tenths % 10);
    return absl::StrCat(tenths / 10, tail, " ", unit.first);
  }
  return absl::StrCat(bytes, " B");
}

absl::Status CheckHeadRoom(absl::string_view meminfo, std::int64_t bytes, const Reserve& reserve,
                           std::int64_t promised) {
  const std::int64_t total = MeminfoBytes(meminfo, "MemTotal:");
  const std::int64_t available = MeminfoBytes(meminfo, "MemAvailable:");
  if (total < 0 || available < 0) {
    return absl::InternalError("/proc/meminfo shows no MemTotal or no MemAvailable");
  }
  const std::int64_t kept = reserve.Of(total);
  const std::int64_t spare = available - kept - std::min(promised, available);
  if (bytes <= spare) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "the host has ", SpellBytes(available), " available and ", SpellBytes(kept), " of its ",
      SpellBytes(total), " must stay (memory-reserve)",
      promised == 0 ? ""
                    : absl::StrCat(", and other leaks are to take ", SpellBytes(promised), " more"),
      ": hold at most ", SpellBytes(spare < 0 ? 0 : spare), ", not ", SpellBytes(bytes)));
}

LeverOr MakeLeak(Cgroups* cgroups, Helpers* helpers, Clock* clock, const Reserve& reserve,
                 const LeakSpec& spec) {
  HelperSpec helper;
  helper.fault_id = spec.fault_id;
  helper.cgroup = spec.cgroup;
  helper.controllers = {"memory"};
  helper.program = kHoldProgram;
  helper.numbers = {{"bytes", spec.bytes}, {"rate", spec.bytes_per_second}};
  // A ramp is the rate's.
  if (spec.shape.pulse()) {
    for (auto& number : ShapeNumbers(spec.shape, spec.start_ns)) {
      helper.numbers.push_back(std::move(number));
    }
  }
  helper.dose = "held_bytes";
  LeverOr lever = MakeHelper(cgroups, helpers, clock, helper);
  if (!lever.ok()) return lever;
  const absl::StatusOr<std::string> meminfo = helpers->Meminfo();
  if (!meminfo.ok()) return meminfo.status();
  if (absl::Status room = CheckHeadRoom(*meminfo, spec.bytes, reserve, spec.promised_bytes);
      !room.ok()) {
    return room;
  }
  return lever;
}

}  // namespace faultline
