// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics/encode.h"

#include <algorithm>
#include <string>

namespace faultline {
namespace {

// Writes the bitmap of nulls; true if there is anything but nulls.
template <typename T>
bool EncodeNulls(absl::Span<const std::optional<T>> values, v1::ColumnFrame* column) {
  std::string bits((values.size() + 7) / 8, '\0');
  size_t nulls = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    if (values[i].has_value()) continue;
    bits[i / 8] = static_cast<char>(static_cast<unsigned char>(bits[i / 8]) | 1U << (i % 8));
    ++nulls;
  }
  if (nulls > 0) column->set_nulls(std::move(bits));
  return nulls < values.size();
}

}  // namespace

void EncodeValues(absl::Span<const std::optional<std::int64_t>> values, v1::ColumnFrame* column) {
  if (!EncodeNulls(values, column)) return;
  column->mutable_values()->Reserve(static_cast<int>(values.size()));
  for (const std::optional<std::int64_t>& value : values) column->add_values(value.value_or(0));
}

void EncodeHistograms(absl::Span<const std::optional<HistogramIncrement>> increments,
                      v1::ColumnFrame* column) {
  if (!EncodeNulls(increments, column)) return;
  for (const std::optional<HistogramIncrement>& increment : increments) {
    column->add_values(increment.has_value() ? increment->count : 0);
    column->add_sums(increment.has_value() ? increment->sum : 0);
    column->add_bucket_counts(
        increment.has_value() ? static_cast<std::uint32_t>(increment->buckets.size()) : 0);
    if (!increment.has_value()) continue;
    std::uint32_t before = 0;
    for (const auto& [bucket, count] : increment->buckets) {
      column->add_buckets(bucket - before);
      column->add_buckets(count);
      before = bucket;
    }
  }
}

}  // namespace faultline
