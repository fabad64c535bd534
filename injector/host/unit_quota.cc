// SPDX-License-Identifier: Apache-2.0
#include "injector/host/unit_quota.h"

#include <algorithm>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"

namespace faultline {
namespace {

constexpr std::uint64_t kUsPerMs = 1000;
constexpr std::uint64_t kUsPerSecond = 1'000'000;
constexpr std::uint64_t kDefaultPeriodUs = 100 * kUsPerMs;
constexpr std::uint64_t kUsPerPercent = kUsPerSecond / 100;

// cgroup_cpu_adjust_period: period and quota of a period are 1 ms at least, the period 1 s at most.
std::uint64_t PeriodOf(const UnitQuota& quota) {
  if (quota.per_second_us == kUnitInfinity) return kDefaultPeriodUs;
  const std::uint64_t asked = quota.period_us == kUnitInfinity ? kDefaultPeriodUs : quota.period_us;
  const std::uint64_t least =
      quota.per_second_us == 0 ? kUsPerSecond : kUsPerMs * kUsPerSecond / quota.per_second_us;
  return std::min(std::max({asked, kUsPerMs, least}), kUsPerSecond);
}

}  // namespace

std::string CpuMaxOf(const UnitQuota& quota) {
  const std::uint64_t period_us = PeriodOf(quota);
  if (quota.per_second_us == kUnitInfinity) return absl::StrCat("max ", period_us);
  return absl::StrCat(std::max(quota.per_second_us * period_us / kUsPerSecond, kUsPerMs), " ",
                      period_us);
}

std::optional<UnitQuota> QuotaFor(absl::string_view cpu_max, const UnitQuota& now) {
  const std::vector<absl::string_view> words = absl::StrSplit(cpu_max, ' ');
  UnitQuota wanted = now;
  std::uint64_t quota_us = 0;
  std::uint64_t period_us = 0;
  if (words.size() != 2 || !absl::SimpleAtoi(words[1], &period_us) || period_us == 0) return {};
  if (words[0] == "max") {
    wanted.per_second_us = kUnitInfinity;
  } else {
    if (!absl::SimpleAtoi(words[0], &quota_us)) return {};
    // Up, because systemd cuts off when it goes back.
    wanted.per_second_us = (quota_us * kUsPerSecond + period_us - 1) / period_us;
  }
  if (CpuMaxOf(wanted) == cpu_max) return wanted;
  wanted.period_us = period_us;
  if (CpuMaxOf(wanted) == cpu_max) return wanted;
  return {};
}

std::string QuotaLine(std::uint64_t per_second_us) {
  if (per_second_us == kUnitInfinity) return "CPUQuota=";
  return absl::StrCat("CPUQuota=", per_second_us / kUsPerPercent, "%");
}

// As format_timespan with an accuracy of 1 us, for spans below a minute.
std::string PeriodLine(std::uint64_t period_us) {
  constexpr absl::string_view kKey = "CPUQuotaPeriodSec=";
  if (period_us == kUnitInfinity) return std::string(kKey);
  const bool seconds = period_us >= kUsPerSecond;
  if (!seconds && period_us < kUsPerMs) return absl::StrCat(kKey, period_us, "us");
  const std::uint64_t unit = seconds ? kUsPerSecond : kUsPerMs;
  std::string text = absl::StrCat(kKey, period_us / unit);
  if (period_us % unit != 0) {
    absl::StrAppendFormat(&text, ".%0*d", seconds ? 6 : 3, period_us % unit);
  }
  return text + (seconds ? "s" : "ms");
}

std::uint64_t QuotaAfterReload(std::uint64_t per_second_us) {
  if (per_second_us == kUnitInfinity) return kUnitInfinity;
  return per_second_us / kUsPerPercent * kUsPerPercent;
}

}  // namespace faultline
