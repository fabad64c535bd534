// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cstdint>
#include <random>

#include "bpf/metric.h"

namespace {

TEST(Histogram_Bucket, BoundsTileAllOfU64) {
  EXPECT_EQ(histogram_lower_bound(0), 0U);
  for (std::uint32_t b = 1; b < HISTOGRAM_BUCKETS; ++b) {
    const std::uint64_t lower = histogram_lower_bound(b);
    EXPECT_EQ(histogram_bucket(lower), b);
    EXPECT_EQ(histogram_bucket(lower - 1), b - 1);
  }
  EXPECT_EQ(histogram_bucket(UINT64_MAX), HISTOGRAM_BUCKETS - 1U);
}

TEST(Histogram_Bucket, RandomValuesLieWithinTheirBucketAndWidthIsBounded) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 200'000; ++i) {
    const std::uint64_t value = random() >> (random() % 64);
    const std::uint32_t bucket = histogram_bucket(value);
    ASSERT_LT(bucket, static_cast<std::uint32_t>(HISTOGRAM_BUCKETS));
    const std::uint64_t lower = histogram_lower_bound(bucket);
    ASSERT_LE(lower, value);
    if (bucket + 1 < HISTOGRAM_BUCKETS) {
      const std::uint64_t upper = histogram_lower_bound(bucket + 1);
      ASSERT_LT(value, upper);
      if (lower >= 8) {
        ASSERT_LE(upper - lower, lower / 4);
      }
    }
  }
}

}  // namespace
