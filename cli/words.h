// SPDX-License-Identifier: Apache-2.0
//
// Amounts and times as tables and progress lines show them; proto/words.h has the words for enums.
// Stateless.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "faultline/v1/faults.pb.h"
#include "proto/words.h"

namespace faultline::cli {

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
