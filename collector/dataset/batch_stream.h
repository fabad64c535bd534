// SPDX-License-Identifier: Apache-2.0
//
// The batches of one node and one span of time, one after the other, decoded. Holds one page of
// encoded batches and one decoded batch, however long the span is. One thread.
#pragma once

#include <cstdint>
#include <deque>

#include "absl/status/statusor.h"
#include "collector/store/catalogue.h"

namespace faultline {

struct StoredBatch {
  // Rows in the store.
  std::int64_t schema = 0;
  std::int64_t epoch = 0;
  v1::Batch content;
};

class BatchStream {
 public:
  BatchStream(Catalogue* catalogue, const BatchRange& range)
      : catalogue_(catalogue), range_(range) {}

  // False: there is no more. The batch holds until the next call.
  absl::StatusOr<bool> Next();
  const StoredBatch& batch() const { return batch_; }

 private:
  Catalogue* catalogue_;
  BatchRange range_;
  // The last one that was read from the store.
  BatchRow last_;
  std::deque<BatchRow> page_;
  StoredBatch batch_;
};

}  // namespace faultline
