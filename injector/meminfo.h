// SPDX-License-Identifier: Apache-2.0
//
// What /proc/meminfo says. Stateless, any thread.
#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"

namespace faultline {

// Bytes of `key` ("MemTotal:") in the text of /proc/meminfo; -1: there is none.
std::int64_t MeminfoBytes(absl::string_view text, absl::string_view key);

}  // namespace faultline
