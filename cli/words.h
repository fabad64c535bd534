// SPDX-License-Identifier: Apache-2.0
//
// The words for enums, amounts and times that tables and JSON share. Stateless.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "faultline/v1/faults.pb.h"

namespace faultline::cli {

// "verified", "undone", ...
absl::string_view PhaseWord(v1::Phase phase);
// "effective", ...; empty while unknown.
absl::string_view VerdictWord(v1::Verdict verdict);
// "available", "degraded", "missing" or "unknown".
absl::string_view AvailabilityWord(v1::Availability availability);

// Undone, refused, failed or interfered: nothing more will happen.
bool IsFinal(v1::Phase phase);

// "1.2 s", "340 ms", "12 us": three digits at most.
std::string DurationText(std::int64_t ns);
// A value in its unit as people read it: "64 MiB", "1.2 s", "5 Mbit/s", "731 {packet}" as
// "731 packets".
std::string AmountText(double value, absl::string_view unit);
// "throttled 1.2 s", "packets dropped 731": a dose with its name.
std::string DoseText(const v1::Dose& dose);
// "23:59:59.123" in UTC; "-" for 0.
std::string ClockText(std::int64_t realtime_ns);

}  // namespace faultline::cli
