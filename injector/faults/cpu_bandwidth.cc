// SPDX-License-Identifier: Apache-2.0
#include "injector/faults/cpu_bandwidth.h"

#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace faultline {
namespace {

absl::Status Unreadable(absl::string_view file, absl::string_view text) {
  return absl::InternalError(absl::StrCat("read ", file, ": unexpected text \"", text, "\""));
}

absl::StatusOr<std::int64_t> ReadInteger(Host& host, const std::string& cgroup, const char* file) {
  absl::StatusOr<std::string> text = host.ReadCgroup(cgroup, "cpu", file);
  if (!text.ok()) return text.status();
  std::int64_t value = 0;
  if (!absl::SimpleAtoi(absl::StripAsciiWhitespace(*text), &value)) return Unreadable(file, *text);
  return value;
}

absl::StatusOr<Bandwidth> ReadV1(Host& host, const std::string& cgroup) {
  absl::StatusOr<std::int64_t> quota = ReadInteger(host, cgroup, "cpu.cfs_quota_us");
  if (!quota.ok()) return quota.status();
  absl::StatusOr<std::int64_t> period = ReadInteger(host, cgroup, "cpu.cfs_period_us");
  if (!period.ok()) return period.status();
  Bandwidth now;
  if (*quota >= 0) now.quota_us = *quota;
  now.period_us = *period;
  return now;
}

absl::StatusOr<Bandwidth> ReadV2(Host& host, const std::string& cgroup) {
  absl::StatusOr<std::string> text = host.ReadCgroup(cgroup, "cpu", "cpu.max");
  if (!text.ok()) return text.status();
  const std::vector<std::string> words =
      absl::StrSplit(*text, absl::ByAnyChar(" \n"), absl::SkipEmpty());
  Bandwidth now;
  std::int64_t quota = 0;
  if (words.size() != 2 || !absl::SimpleAtoi(words[1], &now.period_us)) {
    return Unreadable("cpu.max", *text);
  }
  if (words[0] != "max") {
    if (!absl::SimpleAtoi(words[0], &quota)) return Unreadable("cpu.max", *text);
    now.quota_us = quota;
  }
  return now;
}

}  // namespace

double Ratio(const Bandwidth& limit) {
  return static_cast<double>(*limit.quota_us) / static_cast<double>(limit.period_us);
}

absl::StatusOr<Bandwidth> ReadBandwidth(Host& host, const std::string& cgroup, bool v1) {
  return v1 ? ReadV1(host, cgroup) : ReadV2(host, cgroup);
}

CpuBound BoundOf(Host& host, const std::string& cgroup, bool v1) {
  CpuBound bound;
  bound.cpus = host.Cpus();
  for (std::string group = cgroup; !group.empty(); group.resize(group.rfind('/'))) {
    // Where there is no such file, there is no limit.
    const absl::StatusOr<Bandwidth> limit = ReadBandwidth(host, group, v1);
    if (!limit.ok() || !limit->quota_us.has_value() || Ratio(*limit) >= bound.cpus) continue;
    bound.cpus = Ratio(*limit);
    bound.cgroup = group;
  }
  return bound;
}

}  // namespace faultline
