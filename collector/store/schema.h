// SPDX-License-Identifier: Apache-2.0
//
// The layout of the collector's file and the way to it: a fresh file is made, an older one is
// brought up to date, a newer or damaged one is refused with what to do. PRAGMA user_version names
// the layout.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "collector/store/database.h"

namespace faultline {

// Opens the writing connection of `path` (WAL, synchronous=FULL), checked and up to date. DataLoss:
// damaged; FailedPrecondition: made by a newer collector, or not ours.
absl::StatusOr<std::unique_ptr<Database>> OpenStoreFile(const std::string& path);

// Writes a page as it is, so that a commit has something to bring to disk.
absl::Status Touch(Database& database);

}  // namespace faultline
