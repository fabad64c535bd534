// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics/self_source.h"

#include <time.h>
#include <unistd.h>

#include "base/clock.h"

namespace faultline {
namespace {

std::int64_t ReadClock(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return now.tv_sec * kNsPerSecond + now.tv_nsec;
}

}  // namespace

std::int64_t SelfSource::Now() { return ReadClock(CLOCK_MONOTONIC); }

absl::Status SelfSource::Add(size_t index, const Field& field) {
  const auto* const wanted = std::get_if<SelfField>(&field);
  if (wanted == nullptr) return absl::InvalidArgumentError("not a field of the agent itself");
  if (*wanted == SelfField::kResidentBytes && !Value(*wanted).has_value()) {
    return absl::UnimplementedError("/proc/self/statm cannot be read");
  }
  wanted_.emplace_back(index, *wanted);
  return absl::OkStatus();
}

std::string SelfSource::Hook(const Field& field) const {
  const auto* const wanted = std::get_if<SelfField>(&field);
  if (wanted == nullptr) return "";
  switch (*wanted) {
    case SelfField::kCpuTime:
      return "clock_gettime CLOCK_PROCESS_CPUTIME_ID";
    case SelfField::kResidentBytes:
      return "/proc/self/statm";
    default:
      return "the agent";
  }
}

void SelfSource::Read(const Entities& /*entities*/, std::vector<Column>* columns) {
  for (const auto& [metric, field] : wanted_) {
    std::vector<std::optional<std::int64_t>>& values = (*columns)[metric].values;
    if (!values.empty()) values[0] = Value(field);
  }
}

std::optional<std::int64_t> SelfSource::Value(SelfField field) const {
  switch (field) {
    case SelfField::kCpuTime:
      return ReadClock(CLOCK_PROCESS_CPUTIME_ID);
    case SelfField::kResidentBytes: {
      absl::StatusOr<absl::string_view> text = files_->Read("/proc/self/statm");
      if (!text.ok()) return std::nullopt;
      // proc(5): size, then resident, in pages.
      absl::string_view line = *text;
      TakeWord(&line);
      const std::optional<std::uint64_t> pages = ToNumber(TakeWord(&line));
      if (!pages.has_value()) return std::nullopt;
      return static_cast<std::int64_t>(*pages) * ::sysconf(_SC_PAGESIZE);
    }
    case SelfField::kSkippedTicks:
      return facts_->skipped_ticks;
    case SelfField::kSampleTime:
      return Now() - facts_->begin_ns;
    case SelfField::kCgroupsFolded:
      return facts_->cgroups_folded;
  }
  return std::nullopt;
}

}  // namespace faultline
