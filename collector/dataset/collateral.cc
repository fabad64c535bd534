// SPDX-License-Identifier: Apache-2.0
#include "collector/dataset/collateral.h"

#include <algorithm>
#include <cstddef>
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

}  // namespace

Collateral FindCollateral(const Observation& others) {
  const std::vector<std::size_t> quiet = WindowsOf(others, WindowClass::kQuiet);
  const std::size_t length = WindowsOf(others, WindowClass::kFault).size();
  const auto stretches = Stretches(quiet.size(), length);
  Collateral found;
  found.trials = static_cast<int>(stretches.size());

  std::vector<v1::Movement> candidates;
  double highest = 0;
  for (const Series& series : others.series) {
    if (!series.symptom) continue;
    bool restless = false;
    for (const auto& [first, last] : stretches) {
      Observation trial;
      trial.classes = others.classes;
      for (const std::size_t i : WindowsOf(others, WindowClass::kFault)) {
        trial.classes[i] = WindowClass::kOther;
      }
      for (std::size_t q = first; q < last; ++q) trial.classes[quiet[q]] = WindowClass::kFault;
      const auto movement = Compare(trial, series);
      if (!IsMoved(movement)) continue;
      restless = true;
      highest = std::max(highest, movement->score());
    }
    auto movement = Compare(others, series);
    if (!IsMoved(movement)) continue;
    if (!found.suspect.has_value() || movement->score() > found.suspect->score()) {
      found.suspect = *movement;
    }
    if (!restless) candidates.push_back(std::move(*movement));
  }
  if (found.trials < kMinTrials) return found;
  for (v1::Movement& movement : candidates) {
    if (movement.score() <= kBeyondQuiet * highest) continue;
    if (!found.moved.has_value() || movement.score() > found.moved->score()) {
      found.moved = std::move(movement);
    }
  }
  return found;
}

}  // namespace faultline
