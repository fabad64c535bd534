// SPDX-License-Identifier: Apache-2.0
#include "collector/dataset/batch_stream.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "collector/check.h"

namespace faultline {
namespace {

// Batches read in one go; each is at most 4 MiB.
constexpr int kPage = 16;

}  // namespace

absl::StatusOr<bool> BatchStream::Next() {
  if (page_.empty()) {
    auto rows = catalogue_->Batches(range_, last_, kPage);
    if (!rows.ok()) return rows.status();
    if (rows->empty()) return false;
    last_.id = rows->back().id;
    last_.end_ns = rows->back().end_ns;
    for (BatchRow& row : *rows) page_.push_back(std::move(row));
  }
  BatchRow row = std::move(page_.front());
  page_.pop_front();
  v1::EncodedBatch encoded;
  encoded.set_decoded_bytes(row.decoded_bytes);
  encoded.set_payload(std::move(row.payload));
  auto content = DecodeBatch(encoded);
  if (!content.ok()) {
    return absl::DataLossError(absl::StrCat(
        "stored batch ", row.id, " can no longer be read: ", content.status().message()));
  }
  batch_.schema = row.schema;
  batch_.epoch = row.epoch;
  batch_.content = std::move(*content);
  return true;
}

}  // namespace faultline
