// SPDX-License-Identifier: Apache-2.0
//
// One column of a frame on the wire, as ColumnFrame in telemetry.proto defines it. Stateless; any
// thread.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "faultline/v1/telemetry.pb.h"

namespace faultline {

// What a histogram gained in one window.
struct HistogramIncrement {
  std::int64_t count = 0;
  std::int64_t sum = 0;
  // Bucket and its increment, by bucket, without those that did not change.
  std::vector<std::pair<std::uint32_t, std::uint64_t>> buckets;

  friend bool operator==(const HistogramIncrement&, const HistogramIncrement&) = default;
};

// One value per entity, nullopt = null. A column of nulls only has no values but its bitmap.
void EncodeValues(absl::Span<const std::optional<std::int64_t>> values, v1::ColumnFrame* column);
void EncodeHistograms(absl::Span<const std::optional<HistogramIncrement>> increments,
                      v1::ColumnFrame* column);

}  // namespace faultline
