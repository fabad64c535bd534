// SPDX-License-Identifier: Apache-2.0
//
// Rows of runs: named spans of time, and what each is about. Called with the connection of the
// caller, on its thread.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "collector/store/database.h"
#include "faultline/v1/datasets.pb.h"

namespace faultline {

// By begin, then by name.
absl::StatusOr<std::vector<v1::Run>> ReadRuns(Database& database);
// NotFound: there is none.
absl::StatusOr<v1::Run> ReadRun(Database& database, absl::string_view name);

// Opens a run with the name, the note and the targets of `run`. AlreadyExists.
absl::StatusOr<v1::Run> InsertRun(Database& database, const v1::Run& run, std::int64_t now_ns);
// NotFound; FailedPrecondition: it is closed already.
absl::StatusOr<v1::Run> CloseRun(Database& database, absl::string_view name, std::int64_t now_ns);
absl::StatusOr<v1::Run> UpdateTargets(Database& database, const v1::Run& run);

}  // namespace faultline
