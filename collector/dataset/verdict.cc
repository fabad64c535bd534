// SPDX-License-Identifier: Apache-2.0
#include "collector/dataset/verdict.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace faultline {
namespace {

std::vector<double> ValuesOf(const Observation& observation, const Series& series,
                             WindowClass which) {
  std::vector<double> values;
  for (std::size_t i = 0; i < observation.classes.size(); ++i) {
    if (observation.classes[i] == which && !std::isnan(series.values[i])) {
      values.push_back(series.values[i]);
    }
  }
  return values;
}

// "sched_runqueue_wait_p99_ns" for "sched_runqueue_wait_ns_p99": people write both.
std::string PercentileLast(absl::string_view name) {
  std::vector<std::string> parts = absl::StrSplit(name, '_');
  for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
    if (parts[i] == "p50" || parts[i] == "p90" || parts[i] == "p99") {
      std::rotate(parts.begin() + static_cast<std::ptrdiff_t>(i),
                  parts.begin() + static_cast<std::ptrdiff_t>(i) + 1, parts.end());
      break;
    }
  }
  std::string joined;
  for (const std::string& part : parts) absl::StrAppend(&joined, joined.empty() ? "" : "_", part);
  return joined;
}

}  // namespace

std::optional<double> Median(std::vector<double> values) {
  values.erase(
      std::remove_if(values.begin(), values.end(), [](double value) { return std::isnan(value); }),
      values.end());
  if (values.empty()) return std::nullopt;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

std::optional<Band> QuietBand(const Observation& observation, const Series& series) {
  std::vector<double> quiet = ValuesOf(observation, series, WindowClass::kQuiet);
  if (quiet.size() < static_cast<std::size_t>(kMinQuietWindows)) return std::nullopt;
  Band band;
  band.median = *Median(quiet);
  for (double& value : quiet) value = std::abs(value - band.median);
  band.mad = std::max({*Median(std::move(quiet)), 0.01 * std::abs(band.median), series.resolution});
  return band;
}

std::optional<v1::Movement> Compare(const Observation& observation, const Series& series) {
  const auto band = QuietBand(observation, series);
  const std::vector<double> during = ValuesOf(observation, series, WindowClass::kFault);
  if (!band.has_value() || during.empty()) return std::nullopt;
  const auto windows =
      std::count(observation.classes.begin(), observation.classes.end(), WindowClass::kFault);
  const auto outside = std::count_if(during.begin(), during.end(),
                                     [&](double value) { return !band->Contains(value); });
  v1::Movement movement;
  movement.set_metric(absl::StrCat(series.table, ".", series.column));
  movement.set_entity(series.entity);
  movement.set_quiet_median(band->median);
  movement.set_fault_median(*Median(during));
  movement.set_score(std::abs(movement.fault_median() - band->median) / band->mad);
  // A null is not outside: it cannot be compared.
  movement.set_windows_outside(static_cast<double>(outside) / static_cast<double>(windows));
  movement.set_symptom(series.symptom);
  return movement;
}

bool AnySymptomMoved(const Observation& observation) {
  return std::any_of(observation.series.begin(), observation.series.end(),
                     [&](const Series& series) {
                       if (!series.symptom) return false;
                       const auto movement = Compare(observation, series);
                       return movement.has_value() && movement->windows_outside() >= kMovedShare;
                     });
}

bool AnySymptomComparable(const Observation& observation) {
  return std::any_of(observation.series.begin(), observation.series.end(),
                     [&](const Series& series) {
                       return series.symptom && Compare(observation, series).has_value();
                     });
}

std::vector<v1::Movement> MovedMost(const Observation& observation, std::size_t limit) {
  std::vector<std::pair<v1::Movement, std::string>> all;
  for (const Series& series : observation.series) {
    auto movement = Compare(observation, series);
    if (!movement.has_value() || movement->score() < 1) continue;
    // What the agent says of itself is no symptom of anything.
    if (absl::StrContains(movement->metric(), ".agent_")) continue;
    all.emplace_back(std::move(*movement),
                     absl::StrCat(series.table, "/", series.entity, "/", series.metric));
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const auto& a, const auto& b) { return a.first.score() > b.first.score(); });
  std::set<std::string> seen;
  std::vector<v1::Movement> best;
  for (auto& entry : all) {
    if (best.size() == limit) break;
    if (seen.insert(entry.second).second) best.push_back(std::move(entry.first));
  }
  return best;
}

std::int64_t RecoveredAt(const Observation& observation, std::int64_t fault_end_ns) {
  std::vector<std::pair<const Series*, Band>> symptoms;
  for (const Series& series : observation.series) {
    const auto band = series.symptom ? QuietBand(observation, series) : std::nullopt;
    if (band.has_value()) symptoms.emplace_back(&series, *band);
  }
  for (std::size_t i = 0; i < observation.classes.size(); ++i) {
    if (observation.classes[i] != WindowClass::kAfter) continue;
    bool compared = false;
    bool back = true;
    for (const auto& [series, band] : symptoms) {
      if (std::isnan(series->values[i])) continue;
      compared = true;
      back = back && band.Contains(series->values[i]);
    }
    if (compared && back) return observation.begins[i];
  }
  return fault_end_ns + kMaxRecoveryNs;
}

bool IsSymptom(const v1::FaultState& fault, const std::string& table, const OutputColumn& column) {
  return std::any_of(
      fault.symptoms().begin(), fault.symptoms().end(), [&](absl::string_view symptom) {
        const auto colon = symptom.find(':');
        const absl::string_view place =
            colon == absl::string_view::npos ? "cgroup" : symptom.substr(0, colon);
        const absl::string_view name =
            colon == absl::string_view::npos ? symptom : symptom.substr(colon + 1);
        return place == table && (name == column.name || name == column.metric.name() ||
                                  PercentileLast(name) == column.name);
      });
}

double ResolutionOf(const OutputColumn& column, double interval_s) {
  const std::string& unit = column.metric.unit();
  const double scale = std::pow(10.0, -column.metric.scale());
  switch (column.part) {
    case Part::kRate:
      // A millisecond of time or a page of memory per second; of anything else one per window.
      if (unit == "ns") return 1e6;
      if (unit == "By") return 4096;
      return scale / interval_s;
    case Part::kSum:
      if (unit == "ns") return 1e6 * interval_s;
      return scale;
    case Part::kP50:
    case Part::kP90:
    case Part::kP99:
      if (unit == "ns") return 1e3;
      return scale;
    case Part::kGauge:
      // Memory is charged to a group in batches of 64 pages (MEMCG_CHARGE_BATCH, mm/memcontrol.c).
      if (unit == "By") return 64 * 4096;
      return scale;
    case Part::kCount:
      return 1;
  }
  return 1;
}

}  // namespace faultline
