// SPDX-License-Identifier: Apache-2.0
//
// Percentiles of the log-linear histograms of bpf/metric.h. Stateless.
#pragma once

#include <cstdint>
#include <optional>

#include "absl/types/span.h"

namespace faultline {

// One entity's histogram as it travels: (bucket minus the bucket before, increment) pairs.
using BucketPairs = absl::Span<const std::uint64_t>;

// The value below or at which the share `q` (0 to 1) of the observations lies: the bucket is found
// exactly, the place in it by linear interpolation, so the result is off by less than the width of
// a bucket: nothing below 8, at most 25 % above. Nullopt: no observation.
std::optional<std::int64_t> Percentile(BucketPairs buckets, double q);

}  // namespace faultline
