// SPDX-License-Identifier: Apache-2.0
//
// Files of a control group that hold one value per device: a line "MAJOR:MINOR VALUE" each, and
// none where nothing is set. Pure.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace faultline {

// Value of `key` in `text`; "": there is no such line.
std::string ValueOfKey(absl::string_view text, absl::string_view key);

// What to write into `file` so that `key` has `value`; "" takes its line away.
std::string LineForKey(absl::string_view file, absl::string_view key, absl::string_view value);

}  // namespace faultline
