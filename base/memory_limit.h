// SPDX-License-Identifier: Apache-2.0
//
// Whether a bound that somebody configured can be reached at all: a service that may take more
// memory than its own control group is ended by the kernel first. Stateless; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

namespace faultline {

// The smallest memory.max of the control group (v2) of this process and of those above it, bytes;
// none: nothing bounds it, or it cannot be read. `proc`: as /proc.
std::optional<std::int64_t> OwnMemoryMax(const std::string& proc = "/proc");

// Warns if `bytes`, which `option` allows, and `rest_bytes`, which the program takes besides, are
// more than `memory_max`; true if so.
bool WarnOfMemory(absl::string_view option, std::int64_t bytes, std::int64_t rest_bytes,
                  std::optional<std::int64_t> memory_max);

}  // namespace faultline
