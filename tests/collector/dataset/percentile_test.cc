// SPDX-License-Identifier: Apache-2.0
#include "collector/dataset/percentile.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <vector>

#include "bpf/metric.h"

namespace faultline {
namespace {

std::vector<std::uint64_t> PairsOf(const std::vector<std::uint64_t>& values) {
  std::map<std::uint32_t, std::uint64_t> counts;
  for (const std::uint64_t value : values) ++counts[histogram_bucket(value)];
  std::vector<std::uint64_t> pairs;
  std::uint32_t before = 0;
  for (const auto& [bucket, count] : counts) {
    pairs.push_back(bucket - before);
    pairs.push_back(count);
    before = bucket;
  }
  return pairs;
}

// The nearest-rank definition, on the values themselves.
std::uint64_t Exact(std::vector<std::uint64_t> values, double q) {
  std::sort(values.begin(), values.end());
  const auto rank = std::max<std::size_t>(
      1, static_cast<std::size_t>(std::ceil(q * static_cast<double>(values.size()))));
  return values[rank - 1];
}

TEST(Percentile, IsNothingWithoutObservations) {
  EXPECT_FALSE(Percentile({}, 0.5).has_value());
  const std::vector<std::uint64_t> zero_increment = {7, 0};
  EXPECT_FALSE(Percentile(zero_increment, 0.5).has_value());
}

TEST(Percentile, IsExactBelowEight) {
  for (std::uint64_t value = 0; value < 8; ++value) {
    for (const double q : {0.5, 0.9, 0.99}) {
      EXPECT_EQ(Percentile(PairsOf({value, value, value}), q), static_cast<std::int64_t>(value));
    }
  }
  EXPECT_EQ(Percentile(PairsOf({0, 1, 2, 3, 4}), 0.5), 2);
}

TEST(Percentile, LargestBucketFitsIntoAColumn) {
  const auto value = Percentile(PairsOf({UINT64_MAX}), 0.99);
  ASSERT_TRUE(value.has_value());
  EXPECT_GT(*value, 0);
}

TEST(Percentile, LiesInTheBucketOfTheExactOne_RandomValues) {
  std::mt19937_64 random(42);
  for (int round = 0; round < 3000; ++round) {
    std::vector<std::uint64_t> values(1 + random() % 300);
    const auto shift = random() % 60;
    for (auto& value : values) value = (random() >> 2) >> ((shift + random() % 6) % 62);
    for (const double q : {0.5, 0.9, 0.99}) {
      const auto estimate = Percentile(PairsOf(values), q);
      ASSERT_TRUE(estimate.has_value());
      const std::uint64_t exact = Exact(values, q);
      const auto got = static_cast<double>(*estimate);
      const auto want = static_cast<double>(exact);
      const std::uint32_t bucket = histogram_bucket(exact);
      ASSERT_GE(got, static_cast<double>(histogram_lower_bound(bucket)));
      if (bucket + 1 < HISTOGRAM_BUCKETS) {
        ASSERT_LE(got, static_cast<double>(histogram_lower_bound(bucket + 1)));
      }
      // The promise of docs/dataset.md.
      ASSERT_LE(std::abs(got - want), std::max(1.0, 0.25 * want)) << want;
    }
  }
}

}  // namespace
}  // namespace faultline
