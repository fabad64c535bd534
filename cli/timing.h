// SPDX-License-Identifier: Apache-2.0
//
// When a fault begins and how its dose goes over time, as people type and read it. What a type
// takes is not known here: the node checks it. Stateless.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "faultline/v1/faults.pb.h"

namespace faultline::cli {

// "constant", "ramp:30s" or "pulse:5s/10s" (on for 5 s, off for 10 s).
absl::StatusOr<v1::Shape> ParseShape(absl::string_view text);
// The same words back.
std::string ShapeText(const v1::Shape& shape);

// "+10s", or an instant with its zone like "2026-01-02T03:04:05Z", into `spec`.
absl::Status ParseStart(absl::string_view text, v1::FaultSpec* spec);

// CLOCK_REALTIME ns at which it is to begin, by what its node's clocks said at the command.
std::int64_t StartRealtime(const v1::FaultState& fault);
// It was ordered ahead and has not begun.
bool IsToCome(const v1::FaultState& fault);

}  // namespace faultline::cli
