// SPDX-License-Identifier: Apache-2.0
//
// Control groups where systemd owns the tree: a transient scope, asked for over the system bus.
// Stateless; main thread.
#pragma once

#include <sys/types.h>

#include <string>

#include "absl/status/statusor.h"

namespace faultline::cli {

// Moves process `pid` into new scope faultline-`name`.scope with Delegate=yes; returns the control
// group's path once the process is in it. systemd removes the scope after its last process.
absl::StatusOr<std::string> MoveToScope(const std::string& name, pid_t pid);

}  // namespace faultline::cli
