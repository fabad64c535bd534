// SPDX-License-Identifier: Apache-2.0
//
// How much of any hour faults may take: a host that is disturbed most of the time is of no use to
// its owner. The union of their intervals counts, so two at once take no more than one. Any thread;
// a TakenTime is one thread's at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "base/clock.h"
#include "faultline/v1/faults.pb.h"

namespace faultline {

// CLOCK_BOOTTIME ns of this boot; negative before it.
struct Interval {
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
};

// What `state`, of this boot, takes: from its start, or the command, to its end, or the deadline
// while it has none. Empty: it is a sham, or no fault at all, or never began.
Interval IntervalOf(const v1::FaultState& state, std::int64_t now_ns);

// What a fault took that has ended, on the clock of its own boot.
struct Taken {
  std::string boot_id;
  Interval interval;
  // CLOCK_REALTIME less CLOCK_BOOTTIME when it was commanded, ns.
  std::int64_t realtime_offset_ns = 0;
};

// Of one in a final phase. None: it took nothing.
std::optional<Taken> TakenBy(const v1::FaultState& ended);

// What faults took that have ended, as far back as an hour of now may reach, however many they
// were. Those of other boots are placed by the wall clock, each time anew, as that may be set.
class TakenTime {
 public:
  explicit TakenTime(std::string boot_id) : boot_id_(std::move(boot_id)) {}

  void Add(const Taken& taken);
  // Forgets what no hour that ends at `now` or later reaches.
  void Forget(const Instant& now);
  // All that is known, in any order.
  std::vector<Interval> At(const Instant& now) const;

 private:
  // In order; none touches another.
  using Parts = std::vector<Interval>;
  static void Merge(Interval interval, Parts* parts);
  static void Drop(std::int64_t before_ns, Parts* parts);
  // The first part whose end is at `from_ns` or later.
  static Parts::iterator FirstThatEnds(std::int64_t from_ns, Parts* parts);

  const std::string boot_id_;
  // CLOCK_BOOTTIME ns.
  Parts here_;
  // CLOCK_REALTIME ns.
  Parts before_;
};

// FailedPrecondition, with the figures and the earliest time, if `wanted` and what is `taken` could
// take more than `percent` of some hour; at 100 nothing could.
absl::Status CheckHourShare(double percent, const Interval& wanted,
                            const std::vector<Interval>& taken, const Instant& now);

}  // namespace faultline
