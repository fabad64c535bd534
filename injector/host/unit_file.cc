// SPDX-License-Identifier: Apache-2.0
#include "injector/host/unit_file.h"

#include <unistd.h>

#include <algorithm>
#include <array>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "injector/host/unit_properties.h"
#include "injector/host/unit_quota.h"

namespace faultline {
namespace {

std::string QuotaText(const UnitValues& values) { return CpuMaxOf({values.at(0), values.at(1)}); }

std::optional<UnitValues> QuotaValues(absl::string_view text, const UnitValues& now) {
  const std::optional<UnitQuota> quota = QuotaFor(text, {now.at(0), now.at(1)});
  if (!quota) return {};
  return UnitValues{quota->per_second_us, quota->period_us};
}

// systemd hands the bytes on as they are; the kernel keeps whole pages, and more of them than it
// can count are no limit (page_counter_memparse of mm/page_counter.c).
std::string MemoryText(const UnitValues& values) {
  const auto page = static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
  const std::uint64_t pages = values.at(0) / page;
  if (pages >= static_cast<std::uint64_t>(INT64_MAX) / page) return "max";
  return absl::StrCat(pages * page);
}

std::optional<UnitValues> MemoryValues(absl::string_view text, const UnitValues& /*now*/) {
  UnitValues wanted{kUnitInfinity};
  if (text != "max" && !absl::SimpleAtoi(text, wanted.data())) return {};
  if (MemoryText(wanted) != text) return {};
  return wanted;
}

constexpr const char* kQuotaProperties[] = {kQuotaProperty, kPeriodProperty};
constexpr const char* kMemoryMaxProperties[] = {kMemoryMaxProperty};
constexpr const char* kMemoryHighProperties[] = {kMemoryHighProperty};

}  // namespace

const UnitFile* FindUnitFile(absl::string_view controller, absl::string_view file) {
  static const std::array<UnitFile, 3> rows{
      {{"cpu", "cpu.max", kQuotaProperties, "max 100000", "CPUWeight=", QuotaText, QuotaValues},
       {"memory", "memory.max", kMemoryMaxProperties, "max", "MemoryAccounting=yes", MemoryText,
        MemoryValues},
       {"memory", "memory.high", kMemoryHighProperties, "max", "MemoryAccounting=yes", MemoryText,
        MemoryValues}}};
  const auto at = std::find_if(rows.begin(), rows.end(), [&](const UnitFile& row) {
    return controller == row.controller && file == row.file;
  });
  return at == rows.end() ? nullptr : &*at;
}

}  // namespace faultline
