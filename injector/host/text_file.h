// SPDX-License-Identifier: Apache-2.0
//
// Small files of the kernel and of systemd, read and written whole. Stateless, any thread.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace faultline {

// Text of the file at `path`, as it is; ReadText: without white space at its end.
absl::StatusOr<std::string> ReadWhole(const std::string& path);
absl::StatusOr<std::string> ReadText(const std::string& path);

// Into the file at `path`, which is there, by one write: its error is the kernel's answer.
absl::Status WriteText(const std::string& path, const std::string& text);

}  // namespace faultline
