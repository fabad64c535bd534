// SPDX-License-Identifier: Apache-2.0
//
// A second pair of eyes on the deadlines, in a process of its own: it lives while a fault is open,
// takes over from an injector that died, and ends one that let a deadline or the end of its lease
// pass, so that it cannot go on applying when it thaws. Undoes nothing itself: whoever has the lock
// may. One thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "injector/state_lock.h"

namespace faultline {

class Keeper {
 public:
  // How late after a deadline, or after the end of the lease, an undo may begin before the injector
  // counts as stuck.
  static constexpr std::int64_t kGraceNs = 3 * kNsPerSecond;
  // Between attempts of 5 s to undo what does not go.
  static constexpr std::int64_t kRestNs = 10 * kNsPerSecond;

  Keeper(std::string state_dir, const std::string& run_dir, std::string boot_id, Clock* clock);

  // Waits until something has to be undone, and returns the lock for it; none: nothing is open any
  // more.
  absl::StatusOr<std::optional<StateLock>> WaitForTurn();

  // After an undo that did not succeed, with the lock given back: waits before the next attempt,
  // which a fault may need for ever that this version does not know. Ends early when the injector
  // is back, whose new faults need a keeper, or when nothing is open any more.
  static void Rest(const std::string& state_dir, const std::string& run_dir, Clock* clock);

  // One look at the time `now_ns`, CLOCK_BOOTTIME: whether the injector let a deadline, or the end
  // of the lease under which a fault stands, pass, twice in a row, as after a suspend it needs a
  // moment too.
  bool IsOverdue(std::int64_t now_ns);

 private:
  const std::string state_dir_;
  const std::string mark_;
  const std::string term_file_;
  const std::string boot_id_;
  Clock* const clock_;
  int overdue_looks_ = 0;
};

}  // namespace faultline
