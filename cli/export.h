// SPDX-License-Identifier: Apache-2.0
//
// Fetches the dataset of a run into a folder: what `export` does, and the demo. One thread.
#pragma once

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "cli/client.h"

namespace faultline::cli {

// Called with the share that is done, 0 to 1, and the file at work.
using ExportProgress = std::function<void(double, const std::string&)>;

absl::StatusOr<v1::ExportSummary> FetchDataset(Client& client, const std::string& run,
                                               const std::string& dir,
                                               const ExportProgress& progress);

}  // namespace faultline::cli
