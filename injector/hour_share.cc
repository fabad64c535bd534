// SPDX-License-Identifier: Apache-2.0
#include "injector/hour_share.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace faultline {
namespace {

constexpr std::int64_t kHourNs = 3600 * kNsPerSecond;
// How exactly the earliest time is looked for, and how far.
constexpr std::int64_t kLookStepNs = 10 * kNsPerSecond;
constexpr int kMostSteps = 2000;
// Others' deadlines wait for it: so many intervals are looked at in all.
constexpr int kMostLooks = 100'000;

std::string SpellSeconds(std::int64_t ns) {
  return absl::FormatDuration(absl::Ceil(absl::Nanoseconds(ns), absl::Seconds(1)));
}

// Of all, what two have in common twice.
std::int64_t LengthOf(const std::vector<Interval>& intervals) {
  std::int64_t sum_ns = 0;
  for (const Interval& interval : intervals) {
    sum_ns += std::max<std::int64_t>(0, interval.end_ns - interval.begin_ns);
  }
  return sum_ns;
}

// Intervals one after the other, and how much lies before each.
class Union {
 public:
  explicit Union(std::vector<Interval> parts) {
    std::sort(parts.begin(), parts.end(),
              [](const Interval& a, const Interval& b) { return a.begin_ns < b.begin_ns; });
    for (const Interval& part : parts) {
      if (part.end_ns <= part.begin_ns) continue;
      if (!parts_.empty() && part.begin_ns <= parts_.back().end_ns) {
        parts_.back().end_ns = std::max(parts_.back().end_ns, part.end_ns);
      } else {
        parts_.push_back(part);
      }
    }
    std::int64_t sum = 0;
    for (const Interval& part : parts_) {
      before_.push_back(sum);
      sum += part.end_ns - part.begin_ns;
    }
  }

  int size() const { return static_cast<int>(parts_.size()); }

  // The most that lies, of this and of `wanted`, in any hour which `wanted` touches. It is one that
  // begins with a part, or ends with one: between those the amount grows or shrinks steadily.
  std::int64_t MostWith(const Interval& wanted) const {
    std::int64_t most = 0;
    const auto look = [&](const Interval& part) {
      for (const std::int64_t begin_ns : {part.begin_ns, part.end_ns - kHourNs}) {
        if (begin_ns >= wanted.end_ns || begin_ns + kHourNs <= wanted.begin_ns) continue;
        most = std::max(most, InHourWith(wanted, begin_ns));
      }
    };
    look(wanted);
    for (const Interval& part : parts_) look(part);
    return most;
  }

 private:
  // How much of both lies in the hour that begins at `begin_ns`; it touches `wanted`.
  std::int64_t InHourWith(const Interval& wanted, std::int64_t begin_ns) const {
    const std::int64_t end_ns = begin_ns + kHourNs;
    const Interval more{std::max(begin_ns, wanted.begin_ns), std::min(end_ns, wanted.end_ns)};
    const std::int64_t twice_ns = Before(more.end_ns) - Before(more.begin_ns);
    return Before(end_ns) - Before(begin_ns) + more.end_ns - more.begin_ns - twice_ns;
  }

  std::int64_t Before(std::int64_t at_ns) const {
    const auto after =
        std::upper_bound(parts_.begin(), parts_.end(), at_ns,
                         [](std::int64_t at, const Interval& part) { return at < part.begin_ns; });
    if (after == parts_.begin()) return 0;
    const auto last = static_cast<size_t>(after - parts_.begin()) - 1;
    return before_[last] + std::min(at_ns, parts_[last].end_ns) - parts_[last].begin_ns;
  }

  std::vector<Interval> parts_;
  std::vector<std::int64_t> before_;
};

// When `wanted` could begin; 0: not in the time that is looked at.
std::int64_t Earliest(Interval wanted, const Union& taken, std::int64_t allowed_ns) {
  const int steps = std::min(kMostSteps, kMostLooks / (taken.size() + 1));
  for (int step = 0; step < steps; ++step) {
    const std::int64_t over_ns = taken.MostWith(wanted) - allowed_ns;
    if (over_ns <= 0) return wanted.begin_ns;
    // Every hour changes by no more than what it is moved by.
    const std::int64_t by_ns = std::max(over_ns, kLookStepNs);
    wanted.begin_ns += by_ns;
    wanted.end_ns += by_ns;
  }
  return 0;
}

}  // namespace

Interval IntervalOf(const v1::FaultState& state, std::int64_t now_ns) {
  if (state.sham() || state.hold() || state.phase() == v1::PHASE_REFUSED) return {};
  const v1::Edges& edges = state.edges();
  Interval interval{std::max(state.start_boottime_ns(), edges.commanded().boottime_ns()),
                    state.deadline_boottime_ns()};
  if (edges.undone().boottime_ns() != 0) {
    interval.end_ns = edges.undone().boottime_ns();
    // The machine may have been off for long: no more than it was to last, or was seen to.
    const std::int64_t seen_ns = interval.end_ns - edges.undone().error_ns();
    if (state.ended_with_boot()) {
      interval.end_ns = std::min(interval.end_ns, std::max(state.deadline_boottime_ns(), seen_ns));
    }
  } else if (state.phase() == v1::PHASE_UNDOING) {
    // Before its deadline it is nearly over, after it it is still there.
    interval.end_ns = now_ns;
  }
  return interval;
}

std::optional<Taken> TakenBy(const v1::FaultState& ended) {
  const v1::Edge& commanded = ended.edges().commanded();
  Taken taken{ended.boot_id(), IntervalOf(ended, 0),
              commanded.realtime_ns() - commanded.boottime_ns()};
  if (taken.interval.end_ns <= taken.interval.begin_ns) return std::nullopt;
  return taken;
}

void TakenTime::Add(const Taken& taken) {
  const bool here = taken.boot_id == boot_id_;
  const std::int64_t offset_ns = here ? 0 : taken.realtime_offset_ns;
  Merge({taken.interval.begin_ns + offset_ns, taken.interval.end_ns + offset_ns},
        here ? &here_ : &before_);
}

void TakenTime::Forget(const Instant& now) {
  Drop(now.boottime_ns - kHourNs, &here_);
  // By the wall clock, which may be set back later, none of it is over.
  if (now.boottime_ns >= kHourNs) before_.clear();
}

std::vector<Interval> TakenTime::At(const Instant& now) const {
  std::vector<Interval> intervals = here_;
  const std::int64_t offset_ns = now.realtime_ns - now.boottime_ns;
  for (const Interval& part : before_) {
    intervals.push_back({part.begin_ns - offset_ns, part.end_ns - offset_ns});
  }
  return intervals;
}

void TakenTime::Merge(Interval interval, Parts* parts) {
  const auto first = FirstThatEnds(interval.begin_ns, parts);
  auto last = first;
  for (; last != parts->end() && last->begin_ns <= interval.end_ns; ++last) {
    interval.begin_ns = std::min(interval.begin_ns, last->begin_ns);
    interval.end_ns = std::max(interval.end_ns, last->end_ns);
  }
  parts->insert(parts->erase(first, last), interval);
}

void TakenTime::Drop(std::int64_t before_ns, Parts* parts) {
  parts->erase(parts->begin(), FirstThatEnds(before_ns + 1, parts));
}

TakenTime::Parts::iterator TakenTime::FirstThatEnds(std::int64_t from_ns, Parts* parts) {
  return std::lower_bound(
      parts->begin(), parts->end(), from_ns,
      [](const Interval& part, std::int64_t from) { return part.end_ns < from; });
}

absl::Status CheckHourShare(double percent, const Interval& wanted,
                            const std::vector<Interval>& taken, const Instant& now) {
  if (percent >= 100 || wanted.end_ns <= wanted.begin_ns) return absl::OkStatus();
  const auto allowed_ns = static_cast<std::int64_t>(percent / 100 * static_cast<double>(kHourNs));
  const std::int64_t length_ns = wanted.end_ns - wanted.begin_ns;
  const std::string rule = absl::StrCat("this host allows faults for ", percent, " % of any hour, ",
                                        SpellSeconds(allowed_ns));
  if (std::min(length_ns, kHourNs) > allowed_ns) {
    return absl::FailedPreconditionError(
        absl::StrCat(rule, " (max-hour-share), and this one alone lasts ", SpellSeconds(length_ns),
                     "; give it a shorter duration"));
  }
  // Of a host with thousands of short faults in the hour, to which every start would look.
  if (LengthOf(taken) + length_ns <= allowed_ns) return absl::OkStatus();
  const Union others(taken);
  const std::int64_t most_ns = others.MostWith(wanted);
  if (most_ns <= allowed_ns) return absl::OkStatus();
  const std::int64_t at_ns = Earliest(wanted, others, allowed_ns);
  const std::string when =
      at_ns == 0 ? std::string("give it a shorter duration")
                 : absl::StrCat("it could begin at ",
                                absl::FormatTime(
                                    "%H:%M:%SZ",
                                    absl::FromUnixNanos(at_ns - now.boottime_ns + now.realtime_ns) +
                                        absl::Seconds(1),
                                    absl::UTCTimeZone()),
                                ", or be shorter");
  return absl::FailedPreconditionError(
      absl::StrCat(rule, " (max-hour-share), and with this one of ", SpellSeconds(length_ns),
                   " it could be ", SpellSeconds(most_ns), "; ", when));
}

}  // namespace faultline
