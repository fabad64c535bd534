// SPDX-License-Identifier: Apache-2.0
#include "injector/faults/counters.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "injector/host/dose.h"

namespace faultline {

std::int64_t CountOf(absl::string_view text, absl::string_view key) {
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    std::int64_t value = 0;
    const bool found = absl::ConsumePrefix(&line, key) && absl::ConsumePrefix(&line, " ");
    if (found && absl::SimpleAtoi(line, &value)) return value;
  }
  return 0;
}

Growth::Growth(std::vector<Counter> counters, std::string source)
    : counters_(std::move(counters)), source_(std::move(source)), sum_(counters_.size(), 0) {
  evidence_.dose = DoseOf(sum_);
}

void Growth::Begin(Readings before, std::int64_t start_ns) {
  before_ = std::move(before);
  last_read_ns_ = start_ns;
}

template <typename Doses>
Growth::Readings Growth::FromDose(const Doses& doses) const {
  Readings readings(counters_.size(), 0);
  for (const v1::Dose& dose : doses) {
    for (size_t i = 0; i < counters_.size(); ++i) {
      if (dose.name() == counters_[i].name) readings[i] = dose.value();
    }
  }
  return readings;
}

void Growth::Resume(const v1::FaultState& state) {
  if (static_cast<size_t>(state.baseline_size()) == counters_.size()) {
    before_ = FromDose(state.baseline());
  }
  sum_ = FromDose(state.dose());
  evidence_.dose = DoseOf(sum_);
  const v1::Edges& edges = state.edges();
  evidence_.first_touch_ns = edges.first_touch().boottime_ns();
  evidence_.last_touch_ns = edges.last_touch().boottime_ns();
  evidence_.error_ns = edges.last_touch().error_ns();
  last_read_ns_ =
      state.read_boottime_ns() != 0 ? state.read_boottime_ns() : edges.commanded().boottime_ns();
}

void Growth::Pause(const absl::StatusOr<Readings>& now, std::int64_t now_ns) {
  Take(now, now_ns);
  if (!now.ok()) lost_ = std::string(now.status().message());
  paused_ = true;
}

void Growth::Continue(const absl::StatusOr<Readings>& now, std::int64_t now_ns) {
  if (!now.ok()) {
    lost_ = std::string(now.status().message());
    return;
  }
  before_ = *now;
  for (size_t i = 0; i < before_.size(); ++i) before_[i] -= sum_[i];
  paused_ = false;
  last_read_ns_ = now_ns;
}

bool Growth::Take(const absl::StatusOr<Readings>& now, std::int64_t now_ns) {
  if (paused_) {
    evidence_.missing = lost_;
    return false;
  }
  evidence_.missing = now.ok() ? "" : std::string(now.status().message());
  if (before_.empty()) {
    evidence_.missing = absl::StrCat("what ", source_, " said before the fault was not journaled");
  }
  if (!evidence_.missing.empty()) return false;
  evidence_.missing = lost_;
  Readings sum;
  bool less = false;
  for (size_t i = 0; i < counters_.size(); ++i) {
    sum.push_back(now->at(i) - before_.at(i));
    less = less || sum.back() < sum_[i];
  }
  if (less) evidence_.missing = absl::StrCat(source_, " counts anew");
  const bool moved = !less && sum != sum_;
  if (moved) sum_ = std::move(sum);
  gap_ns_ = now_ns - last_read_ns_;
  last_read_ns_ = now_ns;
  evidence_.dose = DoseOf(sum_);
  return moved;
}

void Growth::Touch(std::int64_t now_ns, std::int64_t error_ns) {
  if (evidence_.first_touch_ns == 0) evidence_.first_touch_ns = now_ns;
  evidence_.last_touch_ns = now_ns;
  evidence_.error_ns = error_ns;
}

void Growth::SetTouches(std::int64_t first_ns, std::int64_t last_ns) {
  evidence_.first_touch_ns = first_ns;
  evidence_.last_touch_ns = last_ns;
  evidence_.error_ns = 0;
}

std::vector<v1::Dose> Growth::DoseOf(const Readings& readings) const {
  std::vector<v1::Dose> doses;
  for (size_t i = 0; i < readings.size(); ++i) {
    doses.push_back(MakeDose(counters_[i].name, counters_[i].unit, readings[i]));
  }
  return doses;
}

}  // namespace faultline
