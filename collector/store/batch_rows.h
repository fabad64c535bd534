// SPDX-License-Identifier: Apache-2.0
//
// What one batch becomes in the store: rows, and the mark up to which its epoch is complete. Runs
// inside a transaction of the writer.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "collector/store/database.h"
#include "collector/store/store.h"

namespace faultline {

// Row id of a node. NotFound: it never said Hello.
absl::StatusOr<std::int64_t> FindNode(Database& database, absl::string_view name);

// Row id of an epoch, made if it is new. A boot id is recorded when it was unknown.
absl::StatusOr<std::int64_t> FindOrMakeEpoch(Database& database, std::int64_t node,
                                             absl::string_view epoch, absl::string_view boot_id,
                                             std::int64_t interval_ns);

absl::StatusOr<std::uint64_t> MarkOf(Database& database, std::int64_t epoch);

// Inserts the batch with all that it carries; `now_ns` is the collector's real time.
absl::StatusOr<BatchOutcome> InsertBatch(Database& database, absl::string_view node_name,
                                         const CheckedBatch& batch, std::int64_t now_ns);

// As Store::SaveReject.
absl::StatusOr<std::uint64_t> InsertReject(Database& database, absl::string_view node_name,
                                           const Rejection& rejection, std::int64_t now_ns);

// Keeps the state if it is newer than the known one, with what that had seen beyond it; true if it
// was.
absl::StatusOr<bool> MergeFault(Database& database, std::int64_t node, const v1::FaultState& told);

}  // namespace faultline
