// SPDX-License-Identifier: Apache-2.0
//
// Finds out what this host can measure: tries the choices of each row, best first, and keeps the
// first that works. Used by the sampler once, at its start.
#pragma once

#include <array>
#include <string>
#include <variant>
#include <vector>

#include "agent/metrics/source.h"
#include "faultline/v1/telemetry.pb.h"

namespace faultline {

// In front of a reason: the kernel has it, but not for this process.
inline constexpr char kForbidden[] = "forbidden: ";

// Who reads which kind of field, by index into the variant Field; null: nobody.
using SourceByField = std::array<Source*, std::variant_size_v<Field>>;

struct Choice {
  v1::Availability availability = v1::AVAILABILITY_MISSING;
  // Where it is read; of a missing metric, where it would be best.
  std::string hook;
  // Empty when available.
  std::string reason;
};

// One per metric. Adds every metric to the source that is to read it and starts the sources, in the
// order of their first appearance. `unread` is the reason where nobody reads a kind of field.
std::vector<Choice> ChooseFields(const SourceByField& sources, const std::string& unread);

}  // namespace faultline
