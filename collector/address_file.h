// SPDX-License-Identifier: Apache-2.0
//
// Tells whoever started us with port 0 where we listen. Called once, by main.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace faultline {

// Writes `address` and a newline to `path`, all at once: a reader sees the whole line or no file.
// Does nothing for an empty path.
absl::Status WriteAddressFile(const std::string& path, const std::string& address);

}  // namespace faultline
