// SPDX-License-Identifier: Apache-2.0
//
// How much memory a serialised Batch would take once parsed, found by walking its wire format: two
// bytes of an empty message become a hundred in memory, so a bound on the bytes alone bounds
// nothing. Stateless, any thread.
#pragma once

#include <cstddef>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace faultline {

// An upper estimate in bytes. InvalidArgument: not a well-formed message.
absl::StatusOr<std::size_t> BatchMemoryBound(absl::string_view serialised);

}  // namespace faultline
