// SPDX-License-Identifier: Apache-2.0
#include "agent/ticks.h"

#include <algorithm>
#include <cstdlib>

namespace faultline {

TickSchedule::Tick TickSchedule::Next(const Instant& now) {
  const std::int64_t offset = now.realtime_ns - now.boottime_ns;
  const std::int64_t wall_index = now.realtime_ns / interval_ns_ + 1;
  Tick tick;
  tick.due_boottime_ns = wall_index * interval_ns_ - offset;
  if (started_) {
    if (std::llabs(offset - last_offset_ns_) * 2 > interval_ns_) {
      tick.stepped_ns = offset - last_offset_ns_;
    }
    // Counted in elapsed time, not in indices, which a step would falsify. The half absorbs the
    // re-alignment.
    const std::int64_t elapsed = tick.due_boottime_ns - last_due_ns_;
    tick.skipped = std::max<std::int64_t>(0, (elapsed + interval_ns_ / 2) / interval_ns_ - 1);
  }
  // Slewing backwards can also put the same index ahead twice: then the next one is meant.
  if (started_ && tick.stepped_ns == 0 && wall_index + correction_ == last_index_) {
    tick.due_boottime_ns += interval_ns_;
    tick.index = last_index_ + 1;
  } else {
    if (started_) correction_ = std::max(correction_, last_index_ + 1 - wall_index);
    tick.index = wall_index + correction_;
  }
  started_ = true;
  last_index_ = tick.index;
  last_due_ns_ = tick.due_boottime_ns;
  last_offset_ns_ = offset;
  return tick;
}

}  // namespace faultline
