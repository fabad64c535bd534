// SPDX-License-Identifier: Apache-2.0
#include "injector/start_time.h"

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace faultline {
namespace {

std::string SpellAhead(std::int64_t ns) { return absl::FormatDuration(absl::Nanoseconds(ns)); }

std::string WallTime(std::int64_t realtime_ns) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::FromUnixNanos(realtime_ns),
                          absl::UTCTimeZone());
}

absl::Status CheckAhead(std::int64_t ahead_ns) {
  if (ahead_ns <= kMaxAheadNs) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("it is to begin in ", SpellAhead(ahead_ns),
                                                 "; a fault is ordered at most ",
                                                 SpellAhead(kMaxAheadNs), " ahead"));
}

}  // namespace

bool IsScheduled(const v1::FaultSpec& spec) {
  return spec.start_delay_ns() != 0 || spec.start_realtime_ns() != 0;
}

absl::StatusOr<std::int64_t> StartOf(const v1::FaultSpec& spec, Instant commanded) {
  if (spec.start_delay_ns() != 0 && spec.start_realtime_ns() != 0) {
    return absl::InvalidArgumentError(
        "it has two starts, a time from now on and an instant; give one of them");
  }
  if (spec.start_delay_ns() < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("it is to begin ", SpellAhead(-spec.start_delay_ns()),
                     " before its command; give a time from now on, or none to begin at once"));
  }
  if (spec.start_realtime_ns() == 0) {
    const absl::Status status = CheckAhead(spec.start_delay_ns());
    if (!status.ok()) return status;
    return commanded.boottime_ns + spec.start_delay_ns();
  }
  if (spec.start_realtime_ns() <= commanded.realtime_ns) {
    return absl::InvalidArgumentError(
        absl::StrCat("it is to begin at ", WallTime(spec.start_realtime_ns()),
                     ", which is over: by this host's clock it is ",
                     WallTime(commanded.realtime_ns), "; give an instant to come"));
  }
  const std::int64_t ahead_ns = spec.start_realtime_ns() - commanded.realtime_ns;
  if (absl::Status status = CheckAhead(ahead_ns); !status.ok()) return status;
  return commanded.boottime_ns + ahead_ns;
}

}  // namespace faultline
