// SPDX-License-Identifier: Apache-2.0
#include "collector/dataset/collateral.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace faultline {
namespace {

std::vector<std::size_t> WindowsOf(const Observation& observation, WindowClass which) {
  std::vector<std::size_t> windows;
  for (std::size_t i = 0; i < observation.classes.size(); ++i) {
    if (observation.classes[i] == which) windows.push_back(i);
  }
  return windows;
}

// Stretches of `length` quiet windows, spread evenly, as [first, last) of `quiet`.
std::vector<std::pair<std::size_t, std::size_t>> Stretches(std::size_t quiet, std::size_t length) {
  std::vector<std::pair<std::size_t, std::size_t>> stretches;
  if (length == 0) return stretches;
  const std::size_t whole = quiet / length;
  const std::size_t wanted = std::min<std::size_t>(whole, kMaxTrials);
  for (std::size_t i = 0; i < wanted; ++i) {
    const std::size_t first = i * whole / wanted * length;
    stretches.emplace_back(first, first + length);
  }
  return stretches;
}

bool IsMoved(const std::optional<v1::Movement>& movement) {
  return movement.has_value() && movement->windows_outside() >= kMovedShare;
}

void KeepHigher(const v1::Movement& movement, std::optional<v1::Movement>* best) {
  if (!best->has_value() || movement.score() > (*best)->score()) *best = movement;
}

// What one symptom of one group does by itself.
struct Habit {
  // Stretches in half of whose windows at least it was measured.
  int trials = 0;
  // It moved in one of them.
  bool restless = false;
  double highest = 0;
};

// The windows of an observation, cut into stretches of quiet time.
class QuietTime {
 public:
  explicit QuietTime(const Observation& observation)
      : trial_(observation), quiet_(WindowsOf(observation, WindowClass::kQuiet)) {
    // Only the classes of the trials matter; the series are given one by one.
    trial_.series.clear();
    const std::vector<std::size_t> fault = WindowsOf(observation, WindowClass::kFault);
    for (const std::size_t i : fault) trial_.classes[i] = WindowClass::kOther;
    stretches_ = Stretches(quiet_.size(), fault.size());
  }

  Habit HabitOf(const Series& series) {
    Habit habit;
    for (const auto& [first, last] : stretches_) {
      std::size_t measured = 0;
      for (std::size_t q = first; q < last; ++q) {
        trial_.classes[quiet_[q]] = WindowClass::kFault;
        measured += std::isnan(series.values[quiet_[q]]) ? 0 : 1;
      }
      const auto movement = Compare(trial_, series);
      for (std::size_t q = first; q < last; ++q) trial_.classes[quiet_[q]] = WindowClass::kQuiet;
      if (movement.has_value() && 2 * measured >= last - first) ++habit.trials;
      if (!IsMoved(movement)) continue;
      habit.restless = true;
      habit.highest = std::max(habit.highest, movement->score());
    }
    return habit;
  }

 private:
  Observation trial_;
  const std::vector<std::size_t> quiet_;
  std::vector<std::pair<std::size_t, std::size_t>> stretches_;
};

}  // namespace

Collateral FindCollateral(const Observation& others) {
  QuietTime quiet(others);
  Collateral found;
  std::vector<std::pair<std::string, v1::Movement>> candidates;
  // By column: what any group reaches in quiet time.
  std::map<std::string, double> highest;
  for (const Series& series : others.series) {
    if (!series.symptom) continue;
    const Habit habit = quiet.HabitOf(series);
    double& reached = highest[series.column];
    reached = std::max(reached, habit.highest);
    const auto movement = Compare(others, series);
    if (!IsMoved(movement) || habit.restless) continue;
    if (habit.trials < kMinTrials) {
      KeepHigher(*movement, &found.suspect);
    } else {
      candidates.emplace_back(series.column, *movement);
    }
  }
  for (const auto& [column, movement] : candidates) {
    if (movement.score() > highest[column]) KeepHigher(movement, &found.moved);
  }
  return found;
}

}  // namespace faultline
