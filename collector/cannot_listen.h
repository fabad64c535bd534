// SPDX-License-Identifier: Apache-2.0
//
// Why the collector's address cannot be taken: gRPC says no more than that it did not work.
// Stateless.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace faultline {

// Unavailable, with what is in the way and what to do. Asks the kernel for `listen` once more, so
// what was in the way may have gone.
absl::Status CannotListen(const std::string& listen);

}  // namespace faultline
