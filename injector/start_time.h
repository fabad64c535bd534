// SPDX-License-Identifier: Apache-2.0
//
// When a fault begins: at once, some time after its command, or at an instant of the wall clock.
// Pure, any thread.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "faultline/v1/faults.pb.h"

namespace faultline {

// How far ahead a fault may be ordered.
constexpr std::int64_t kMaxAheadNs = std::int64_t{24} * 3600 * kNsPerSecond;

// Whether it is to begin later than at once.
bool IsScheduled(const v1::FaultSpec& spec);

// CLOCK_BOOTTIME ns of the start. An instant of the wall clock is converted here and once: a step
// of that clock afterwards does not move the start. InvalidArgument: both are given, or it is over,
// or too far ahead.
absl::StatusOr<std::int64_t> StartOf(const v1::FaultSpec& spec, Instant commanded);

}  // namespace faultline
