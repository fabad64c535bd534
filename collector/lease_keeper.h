// SPDX-License-Identifier: Apache-2.0
//
// Tells every connected node that this collector stands behind the faults that came through it, as
// long as it can store what becomes of them: a node that does not hear of it for the time of a
// lease ends them. Owns one thread, and says nothing while no node is connected.
#pragma once

#include <atomic>
#include <memory>
#include <stop_token>
#include <thread>

#include "base/clock.h"
#include "collector/fleet.h"
#include "collector/store/store.h"

namespace faultline {

class LeaseKeeper {
 public:
  // Between two leases, and how long one stands: two may be lost, and with the way to the node and
  // the undo there are less than 15 s from the loss of a collector to the end of its faults.
  static constexpr std::int64_t kEveryNs = 3 * kNsPerSecond;
  static constexpr std::int64_t kTtlNs = 9 * kNsPerSecond;

  // Of a stream: when the newest message that was read of it had been sent, by the node, and when
  // it was read, by this end, CLOCK_BOOTTIME ns. 0: none said when.
  struct Heard {
    std::int64_t sent_ns = 0;
    std::int64_t read_ns = 0;
  };

  // A lease as of now. The caller knows that the store works.
  static v1::CollectorMessage Message(const Instant& now, const Heard& heard);

  // All of them outlive it, and the fleet outlives the store.
  LeaseKeeper(Store* store, Fleet* fleet, Clock* clock);

 private:
  void Run(const std::stop_token& stop);

  Store* const store_;
  Fleet* const fleet_;
  Clock* const clock_;
  // A commit is awaited; one that never comes must not be followed by others. Shared with what
  // waits for it.
  const std::shared_ptr<std::atomic<bool>> waits_ = std::make_shared<std::atomic<bool>>(false);
  // The thread's.
  std::int64_t next_ns_;
  std::jthread thread_;
};

}  // namespace faultline
