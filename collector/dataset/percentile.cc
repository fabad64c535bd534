// SPDX-License-Identifier: Apache-2.0
#include "collector/dataset/percentile.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "bpf/metric.h"

namespace faultline {
namespace {

// Largest value of `bucket`.
std::uint64_t UpperBound(std::uint32_t bucket) {
  if (bucket + 1 >= HISTOGRAM_BUCKETS) return std::numeric_limits<std::uint64_t>::max();
  return histogram_lower_bound(bucket + 1) - 1;
}

}  // namespace

std::optional<std::int64_t> Percentile(BucketPairs buckets, double q) {
  double total = 0;
  for (std::size_t i = 0; i + 1 < buckets.size(); i += 2) {
    total += static_cast<double>(buckets[i + 1]);
  }
  if (total <= 0) return std::nullopt;
  // The nearest rank: the smallest value that at least this many observations do not exceed.
  const double rank = std::max(1.0, std::ceil(q * total));
  double before = 0;
  std::uint32_t bucket = 0;
  for (std::size_t i = 0; i + 1 < buckets.size(); i += 2) {
    bucket += static_cast<std::uint32_t>(buckets[i]);
    const auto count = static_cast<double>(buckets[i + 1]);
    if (count > 0 && before + count >= rank) {
      const auto lower = static_cast<double>(histogram_lower_bound(bucket));
      const auto upper = static_cast<double>(UpperBound(bucket));
      // The k-th of n lies in the middle of the k-th of n equal parts.
      const double share = (rank - before - 0.5) / count;
      const double value = lower + (upper - lower) * share;
      // The last bucket of u64 does not fit into a column.
      constexpr double kLargest = 9.2e18;
      return static_cast<std::int64_t>(std::llround(std::min(value, kLargest)));
    }
    before += count;
  }
  return std::nullopt;
}

}  // namespace faultline
