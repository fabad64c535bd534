// SPDX-License-Identifier: Apache-2.0
//
// When to sample. All nodes sample at the same multiples of the interval on the wall clock, but the
// waiting is done on CLOCK_BOOTTIME, and the offset between the two is looked at anew each tick: a
// step of the wall clock re-aligns the schedule, and no tick index ever comes twice. Pure
// arithmetic, owned by the agent's loop.
#pragma once

#include <cstdint>

#include "base/clock.h"

namespace faultline {

class TickSchedule {
 public:
  struct Tick {
    // Wall-clock time of the tick divided by the interval, plus a correction that keeps it rising
    // after a step backwards.
    std::int64_t index = 0;
    // When to sample, CLOCK_BOOTTIME ns.
    std::int64_t due_boottime_ns = 0;
    // Whole ticks that were missed since the one before.
    std::int64_t skipped = 0;
    // By how much the wall clock stepped since the tick before, ns; 0 = by less than half an
    // interval, which is drift or NTP's slewing.
    std::int64_t stepped_ns = 0;
  };

  // `interval_ns`: 10 ms to 60 s.
  explicit TickSchedule(std::int64_t interval_ns) : interval_ns_(interval_ns) {}

  // The first tick that is still ahead at `now`.
  Tick Next(const Instant& now);

 private:
  const std::int64_t interval_ns_;
  bool started_ = false;
  std::int64_t last_index_ = 0;
  std::int64_t last_due_ns_ = 0;
  std::int64_t last_offset_ns_ = 0;
  std::int64_t correction_ = 0;
};

}  // namespace faultline
