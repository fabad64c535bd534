// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics/encode.h"

#include <gtest/gtest.h>

#include <random>

#include "bpf/metric.h"

namespace faultline {
namespace {

using Values = std::vector<std::optional<std::int64_t>>;
using Histograms = std::vector<std::optional<HistogramIncrement>>;

// A reader written from the comments of ColumnFrame alone.
bool IsNull(const v1::ColumnFrame& column, size_t row) {
  if (column.values().empty()) return true;
  if (column.nulls().empty()) return false;
  return (static_cast<unsigned char>(column.nulls()[row / 8]) >> (row % 8) & 1) != 0;
}

Values DecodeValues(const v1::ColumnFrame& column, size_t rows) {
  Values values(rows);
  for (size_t row = 0; row < rows; ++row) {
    if (!IsNull(column, row)) values[row] = column.values(static_cast<int>(row));
  }
  return values;
}

Histograms DecodeHistograms(const v1::ColumnFrame& column, size_t rows) {
  Histograms histograms(rows);
  int next = 0;
  for (size_t row = 0; row < rows; ++row) {
    if (IsNull(column, row)) continue;
    const int at = static_cast<int>(row);
    HistogramIncrement& histogram = histograms[row].emplace();
    histogram.count = column.values(at);
    histogram.sum = column.sums(at);
    std::uint32_t bucket = 0;
    for (std::uint32_t pair = 0; pair < column.bucket_counts(at); ++pair) {
      bucket += static_cast<std::uint32_t>(column.buckets(next++));
      histogram.buckets.emplace_back(bucket, column.buckets(next++));
    }
  }
  EXPECT_EQ(next, column.buckets_size());
  return histograms;
}

TEST(EncodeValues, RoundTrips) {
  const Values cases[] = {
      {},
      {0},
      {std::nullopt},
      {1, -5, INT64_MAX, INT64_MIN},
      {std::nullopt, 7, std::nullopt, 0, 1, 2, 3, 4, 5, std::nullopt},
      Values(17),
  };
  for (const Values& values : cases) {
    v1::ColumnFrame column;
    EncodeValues(values, &column);
    EXPECT_EQ(DecodeValues(column, values.size()), values);
  }
}

TEST(EncodeValues, NoNulls_HasNoBitmap) {
  v1::ColumnFrame column;
  EncodeValues(Values{1, 2}, &column);
  EXPECT_TRUE(column.nulls().empty());
}

TEST(EncodeValues, OnlyNulls_HasNoValues) {
  v1::ColumnFrame column;
  EncodeValues(Values(9), &column);
  EXPECT_TRUE(column.values().empty());
  EXPECT_EQ(column.nulls(), "\xff\x01");
}

TEST(EncodeValues, Null_StandsAsZeroInTheValues) {
  v1::ColumnFrame column;
  EncodeValues(Values{3, std::nullopt}, &column);
  ASSERT_EQ(column.values_size(), 2);
  EXPECT_EQ(column.values(1), 0);
  EXPECT_EQ(column.nulls(), "\x02");
}

TEST(EncodeHistograms, RoundTrips_RandomColumns) {
  // Fixed seed: the same columns in every run.
  std::mt19937_64 random(20260101);
  for (int round = 0; round < 200; ++round) {
    Histograms histograms(random() % 12);
    for (std::optional<HistogramIncrement>& histogram : histograms) {
      if (random() % 3 == 0) continue;
      histogram.emplace();
      histogram->sum = static_cast<std::int64_t>(random() % 1'000'000'000'000);
      for (std::uint32_t bucket = 0; bucket < HISTOGRAM_BUCKETS; ++bucket) {
        if (random() % 16 != 0) continue;
        const std::uint64_t count = 1 + random() % 1000;
        histogram->buckets.emplace_back(bucket, count);
        histogram->count += static_cast<std::int64_t>(count);
      }
    }
    v1::ColumnFrame column;
    EncodeHistograms(histograms, &column);
    EXPECT_EQ(DecodeHistograms(column, histograms.size()), histograms);
  }
}

TEST(EncodeHistograms, NothingObserved_IsZeroAndNotNull) {
  v1::ColumnFrame column;
  EncodeHistograms(Histograms{HistogramIncrement{}, std::nullopt}, &column);
  EXPECT_EQ(column.values_size(), 2);
  EXPECT_EQ(column.nulls(), "\x02");
  EXPECT_TRUE(column.buckets().empty());
}

}  // namespace
}  // namespace faultline
