// SPDX-License-Identifier: Apache-2.0
//
// Did the fault do anything? Compares what was measured during a fault with the quiet time around
// it, by median and MAD (median absolute deviation), which a few odd windows do not move.
// docs/dataset.md has the definitions. Pure functions, any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "collector/dataset/intervals.h"
#include "collector/dataset/layout.h"
#include "faultline/v1/datasets.pb.h"

namespace faultline {

// How far from the median the quiet band reaches, in MADs.
constexpr double kBandMads = 5;
// Share of the fault's windows outside the band from which a symptom counts as moved.
constexpr double kMovedShare = 0.5;
// A fault that has fewer windows to itself is judged on those that it shares, too.
constexpr int kMinOwnWindows = 3;
// Fewer quiet windows than this make no band.
constexpr int kMinQuietWindows = 5;
// Recovery is at most this long.
constexpr std::int64_t kMaxRecoveryNs = 30'000'000'000;

// What a window is for the fault that is judged.
enum class WindowClass : std::uint8_t {
  // No fault and no recovery of any.
  kQuiet,
  // Wholly inside this fault, and no other one with a dose.
  kFault,
  // Wholly inside this fault, and another one with a dose is about.
  kShared,
  // Within 30 s after this fault, no other one active.
  kAfter,
  // Everything else: edges, other faults, other recoveries.
  kOther,
};

// One column of one entity over the windows of an observation.
struct Series {
  std::string table;
  std::string entity;
  std::string column;
  // The metric behind the column, so that p50 and p99 of one count as one.
  std::string metric;
  bool symptom = false;
  // Change that means nothing, in the column's unit.
  double resolution = 1;
  // One per window; NaN = null, which compares with nothing.
  std::vector<double> values;
};

struct Observation {
  // By window, in order of time.
  std::vector<WindowClass> classes;
  std::vector<std::int64_t> begins;
  std::vector<Series> series;
};

struct Band {
  double median = 0;
  // At least 1 % of the median and at least the resolution, so that a constant has a band too.
  double mad = 0;
  bool Contains(double value) const {
    return value >= median - kBandMads * mad && value <= median + kBandMads * mad;
  }
};

// Median of the numbers, NaN left out; nullopt: there is none. The mean of the middle two for an
// even count.
std::optional<double> Median(std::vector<double> values);

// Nullopt: too few quiet windows have a value.
std::optional<Band> QuietBand(const Observation& observation, const Series& series);

// How the column moved during the fault; nullopt: nothing to compare.
std::optional<v1::Movement> Compare(const Observation& observation, const Series& series);

// True if a symptom left its band in at least half of the fault's windows.
bool AnySymptomMoved(const Observation& observation);
// False: no symptom can be compared, so nothing can be said.
bool AnySymptomComparable(const Observation& observation);

// The best by score, one per metric and entity, at most `limit`; none that moved less than a MAD.
std::vector<v1::Movement> MovedMost(const Observation& observation, std::size_t limit);

// Begin of the first window after the fault in which every symptom that has a value is back in its
// band; at most 30 s after the fault.
std::int64_t RecoveredAt(const Observation& observation, std::int64_t fault_end_ns);

// The column is one that the fault's row names: by its name in the files, by its metric's, or as
// "table:name"; without a table the cgroup table is meant.
bool IsSymptom(const v1::FaultState& fault, const std::string& table, const OutputColumn& column);

// Change of a column that means nothing, by its unit and part, for windows of `interval_s`.
double ResolutionOf(const OutputColumn& column, double interval_s);

}  // namespace faultline
