// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics/increments.h"

#include <gtest/gtest.h>

namespace faultline {
namespace {

using Values = std::vector<std::optional<std::int64_t>>;

constexpr size_t kMetric = 0;
constexpr Table kTable = Table::kCgroup;

std::vector<Entity> Ids(const std::vector<std::uint64_t>& ids) {
  std::vector<Entity> entities(ids.size());
  for (size_t i = 0; i < ids.size(); ++i) entities[i].id = ids[i];
  return entities;
}

class IncrementsTest : public testing::Test {
 protected:
  Values Tick(const std::vector<std::uint64_t>& ids, Values values) {
    increments_.BeginTable(kTable, Ids(ids));
    return increments_.OfCounter(kMetric, std::move(values));
  }
  std::optional<HistogramIncrement> Tick(std::unique_ptr<histogram> now) {
    increments_.BeginTable(kTable, Ids({1}));
    std::vector<std::unique_ptr<histogram>> column;
    column.push_back(std::move(now));
    return increments_.OfHistogram(kMetric, std::move(column))[0];
  }
  static std::unique_ptr<histogram> Observed(const std::vector<std::uint64_t>& values) {
    auto result = std::make_unique<histogram>();
    for (const std::uint64_t value : values) {
      result->sum += value;
      ++result->count;
      ++result->buckets[histogram_bucket(value)];
    }
    return result;
  }

  Increments increments_;
};

TEST_F(IncrementsTest, FirstSight_IsNull) {
  EXPECT_EQ(Tick({1, 2}, {10, 20}), Values({std::nullopt, std::nullopt}));
  EXPECT_EQ(Tick({1, 2}, {15, 20}), Values({5, 0}));
}

TEST_F(IncrementsTest, EntitiesComeGoAndMove_KeepTheirOwnBase) {
  Tick({1, 2, 3}, {10, 20, 30});
  EXPECT_EQ(Tick({4, 3, 1}, {1, 33, 11}), Values({std::nullopt, 3, 1}));
  // 2 was away for a tick: its increment would cover two windows.
  EXPECT_EQ(Tick({1, 2, 3, 4}, {12, 25, 33, 2}), Values({1, std::nullopt, 0, 1}));
}

TEST_F(IncrementsTest, ValueBelowTheOneBefore_IsNullAndANewBase) {
  Tick({1}, {100});
  EXPECT_EQ(Tick({1}, {7}), Values{std::nullopt});
  EXPECT_EQ(Tick({1}, {9}), Values{2});
}

TEST_F(IncrementsTest, MissingValue_IsNullForTwoTicks) {
  Tick({1}, {100});
  EXPECT_EQ(Tick({1}, {std::nullopt}), Values{std::nullopt});
  EXPECT_EQ(Tick({1}, {110}), Values{std::nullopt});
  EXPECT_EQ(Tick({1}, {111}), Values{1});
}

TEST_F(IncrementsTest, ValuesThatWrap_KeepTheirDifference) {
  Tick({1}, {INT64_MAX});
  EXPECT_EQ(Tick({1}, {INT64_MIN + 4}), Values{5});
}

TEST_F(IncrementsTest, Histogram_YieldsWhatWasObservedSince) {
  EXPECT_EQ(Tick(Observed({5})), std::nullopt);
  const std::optional<HistogramIncrement> increment = Tick(Observed({5, 5, 1000}));
  ASSERT_TRUE(increment.has_value());
  EXPECT_EQ(increment->count, 2);
  EXPECT_EQ(increment->sum, 1005);
  EXPECT_EQ(increment->buckets, (std::vector<std::pair<std::uint32_t, std::uint64_t>>{
                                    {5, 1}, {histogram_bucket(1000), 1}}));
  const std::optional<HistogramIncrement> quiet = Tick(Observed({5, 5, 1000}));
  ASSERT_TRUE(quiet.has_value());
  EXPECT_EQ(*quiet, HistogramIncrement{});
}

TEST_F(IncrementsTest, HistogramThatWasReset_IsNull) {
  Tick(Observed({5, 7}));
  EXPECT_EQ(Tick(Observed({7, 100})), std::nullopt);
  EXPECT_EQ(Tick(nullptr), std::nullopt);
  EXPECT_EQ(Tick(Observed({7})), std::nullopt);
  EXPECT_TRUE(Tick(Observed({7})).has_value());
}

// A tick that reads between the kernel's writes of bucket and count.
TEST_F(IncrementsTest, HistogramReadHalfway_CountsItsBuckets) {
  Tick(Observed({}));
  auto torn = Observed({9});
  torn->count = 0;
  const std::optional<HistogramIncrement> increment = Tick(std::move(torn));
  ASSERT_TRUE(increment.has_value());
  EXPECT_EQ(increment->count, 1);
}

}  // namespace
}  // namespace faultline
