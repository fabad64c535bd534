// SPDX-License-Identifier: Apache-2.0
//
// What the collector believes of what nodes say: nothing, until it has been checked here. Names
// become file names and column names of datasets; sizes become memory. Stateless, any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "collector/store/checked_batch.h"
#include "faultline/v1/telemetry.pb.h"

namespace faultline {

// Largest v1::EncodedBatch.decoded_bytes.
constexpr std::size_t kMaxDecodedBytes = 16U << 20;
// What a decoded batch may take in memory: the largest batch if it is all numbers, which grow from
// one byte to eight in an array that may be half empty.
constexpr std::size_t kMaxBatchMemory = 272U << 20;

// Letters, digits, '.', '_' and '-', 1 to 64, not "." or "..": names of nodes and runs. `what`
// names the thing in the message.
absl::Status CheckName(absl::string_view name, absl::string_view what);

// A Hello can be stored: names, epoch, interval and schema are sound.
absl::Status CheckHello(const v1::Hello& hello);

// Epoch and sequence are sound, so that the batch can at least be named in an answer.
absl::Status CheckBatchKey(const v1::EncodedBatch& encoded);

// Decompresses and parses. Allocates at most kMaxDecodedBytes before anything is believed, and
// kMaxBatchMemory after. InvalidArgument: the bytes can never become a batch.
absl::StatusOr<v1::Batch> DecodeBatch(const v1::EncodedBatch& encoded);

// Every size in the batch agrees with the schema and with its entities. Yields the number of
// values, nulls not counted.
absl::StatusOr<std::int64_t> CheckBatch(const v1::Batch& batch, const v1::Schema& schema);

// What is lost with a batch that will not be stored: what its own gap record says, or the window
// and the number of values of its frames as far as they can be made out. The reason is "rejected"
// unless the record gives one.
v1::Gap LostWith(const v1::EncodedBatch& encoded);

// DecodeBatch and CheckBatch with the one of `schemas` that the batch names, reduced to what the
// store keeps beside the bytes, which the caller adds. A fault without a usable id is left out and
// counted: the samples beside it are sound. Large batches take turns, so that several threads do
// not hold several in memory.
absl::StatusOr<CheckedBatch> CheckEncodedBatch(const v1::EncodedBatch& encoded,
                                               const std::vector<v1::Schema>& schemas);

// The value of row `index` is null. For a column that has passed CheckBatch.
inline bool IsNull(const v1::ColumnFrame& column, int index) {
  if (column.values_size() == 0) return true;
  if (column.nulls().empty()) return false;
  const auto byte = static_cast<unsigned char>(column.nulls()[static_cast<std::size_t>(index / 8)]);
  return ((byte >> (index % 8)) & 1U) != 0;
}

}  // namespace faultline
