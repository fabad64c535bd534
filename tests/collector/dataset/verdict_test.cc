// SPDX-License-Identifier: Apache-2.0
#include "collector/dataset/verdict.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

namespace faultline {
namespace {

const double kNull = std::nan("");

// Ten quiet windows, then the fault's, then those after it.
Observation Observe(const std::vector<double>& quiet, const std::vector<double>& during,
                    const std::vector<double>& after = {}, double resolution = 1) {
  Observation observation;
  Series series;
  series.table = "cgroup";
  series.entity = "/web";
  series.column = "x_p99";
  series.metric = "x";
  series.symptom = true;
  series.resolution = resolution;
  const auto add = [&](const std::vector<double>& values, WindowClass which) {
    for (const double value : values) {
      observation.begins.push_back(static_cast<std::int64_t>(observation.begins.size()) * 1000);
      observation.classes.push_back(which);
      series.values.push_back(value);
    }
  };
  add(quiet, WindowClass::kQuiet);
  add(during, WindowClass::kFault);
  add(after, WindowClass::kAfter);
  observation.series.push_back(series);
  return observation;
}

TEST(Median, OfOddEvenAndNothing) {
  EXPECT_EQ(Median({3, 1, 2}), 2);
  EXPECT_EQ(Median({4, 1, 2, 3}), 2.5);
  EXPECT_EQ(Median({kNull, 7, kNull}), 7);
  EXPECT_FALSE(Median({kNull}).has_value());
  EXPECT_FALSE(Median({}).has_value());
}

TEST(QuietBand, HasWidthEvenWhereNothingVaries) {
  const std::vector<double> constant(10, 1000);
  Observation seen = Observe(constant, {1});
  auto band = QuietBand(seen, seen.series[0]);
  ASSERT_TRUE(band.has_value());
  EXPECT_EQ(band->median, 1000);
  EXPECT_EQ(band->mad, 10);  // 1 % of the median
  seen = Observe(std::vector<double>(10, 0), {1}, {}, 3);
  band = QuietBand(seen, seen.series[0]);
  EXPECT_EQ(band->mad, 3);  // the resolution
  seen = Observe({100, 100, 100, 130, 70, 130, 70, 130, 70, 100}, {1});
  band = QuietBand(seen, seen.series[0]);
  EXPECT_EQ(band->mad, 30);
  EXPECT_TRUE(band->Contains(250));
  EXPECT_FALSE(band->Contains(251));
}

TEST(QuietBand, NeedsEnoughWindowsWithAValue) {
  const Observation seen = Observe({1, 1, 1, 1, kNull, kNull}, {1});
  EXPECT_FALSE(QuietBand(seen, seen.series[0]).has_value());
}

TEST(AnySymptomMoved, NeedsHalfOfTheFaultsWindowsOutside) {
  const std::vector<double> quiet(10, 100);
  EXPECT_TRUE(AnySymptomMoved(Observe(quiet, {200, 200, 100, 100})));
  EXPECT_FALSE(AnySymptomMoved(Observe(quiet, {200, 100, 100, 100})));
  EXPECT_TRUE(AnySymptomMoved(Observe(quiet, {0, 0, 0})));
  // A null is no evidence.
  EXPECT_FALSE(AnySymptomMoved(Observe(quiet, {200, kNull, kNull, kNull})));
  EXPECT_FALSE(AnySymptomMoved(Observe(quiet, {kNull, kNull})));
  EXPECT_FALSE(AnySymptomComparable(Observe(quiet, {kNull, kNull})));
  Observation other = Observe(quiet, {200, 200});
  other.series[0].symptom = false;
  EXPECT_FALSE(AnySymptomMoved(other));
}

TEST(MovedMost, IsSortedByScoreAndNamesEachMetricOnce) {
  Observation seen = Observe(std::vector<double>(10, 100), {200, 200, 200});
  Series less = seen.series[0];
  less.column = "x_p50";
  less.values.assign(less.values.size(), 100);
  less.values[10] = less.values[11] = less.values[12] = 150;
  seen.series.insert(seen.series.begin(), less);
  Series other = less;
  other.metric = other.column = "y";
  other.symptom = false;
  seen.series.push_back(other);
  Series still = other;
  still.metric = still.column = "z";
  still.values.assign(still.values.size(), 100);
  seen.series.push_back(still);
  const auto moved = MovedMost(seen, 3);
  ASSERT_EQ(moved.size(), 2U);
  EXPECT_EQ(moved[0].metric(), "cgroup.x_p99");
  EXPECT_EQ(moved[0].quiet_median(), 100);
  EXPECT_EQ(moved[0].fault_median(), 200);
  EXPECT_EQ(moved[0].score(), 100);  // 100 / max(MAD 0, 1 % of 100, resolution 1)
  EXPECT_EQ(moved[0].windows_outside(), 1);
  EXPECT_TRUE(moved[0].symptom());
  EXPECT_EQ(moved[1].metric(), "cgroup.y");
}

TEST(RecoveredAt, IsTheFirstWindowBackInTheBandOrTheLimit) {
  const std::vector<double> quiet(10, 100);
  // Windows begin every 1000 ns: 10 quiet, 2 of the fault, then these.
  EXPECT_EQ(RecoveredAt(Observe(quiet, {200, 200}, {200, kNull, 101, 200}), 12'000), 14'000);
  EXPECT_EQ(RecoveredAt(Observe(quiet, {200, 200}, {200, 200}), 12'000), 12'000 + kMaxRecoveryNs);
  EXPECT_EQ(RecoveredAt(Observe(quiet, {200, 200}, {}), 12'000), 12'000 + kMaxRecoveryNs);
}

TEST(IsSymptom, ByEveryWayPeopleWriteIt) {
  v1::FaultState fault;
  OutputColumn column;
  column.name = "sched_runqueue_wait_ns_p99";
  column.part = Part::kP99;
  column.metric.set_name("sched_runqueue_wait_ns");
  struct Case {
    const char* symptom;
    const char* table;
    bool expected;
  };
  const Case cases[] = {
      {"sched_runqueue_wait_ns", "cgroup", true},
      {"sched_runqueue_wait_ns_p99", "cgroup", true},
      {"sched_runqueue_wait_p99_ns", "cgroup", true},
      {"sched_runqueue_wait_p50_ns", "cgroup", false},
      {"sched_runqueue_wait_ns", "host", false},
      {"host:sched_runqueue_wait_ns", "host", true},
      {"host:sched_runqueue_wait_ns", "cgroup", false},
      {"other_ns", "cgroup", false},
  };
  for (const Case& test : cases) {
    fault.clear_symptoms();
    fault.add_symptoms(test.symptom);
    EXPECT_EQ(IsSymptom(fault, test.table, column), test.expected) << test.symptom;
  }
}

}  // namespace
}  // namespace faultline
