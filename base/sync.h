// SPDX-License-Identifier: Apache-2.0
//
// What a power cut leaves. Stateless, any thread.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace faultline {

// Waits until the disk has the file at `path`, or of a folder the names in it. After a rename both
// are needed.
absl::Status SyncPath(const std::string& path);
// Of the folder in which the file at `path` lies.
absl::Status SyncFolderOf(const std::string& path);

}  // namespace faultline
