// SPDX-License-Identifier: Apache-2.0
//
// How long the tasks of a control group were stopped, and when first and last: the sum over every
// pause of a pulse. Time without a single task in the group is no dose, nor is any after somebody
// else thawed it. Pure; one thread at a time.
#pragma once

#include <cstdint>

#include "injector/host/host.h"

namespace faultline {

class PauseCount {
 public:
  // The group was frozen at `now_ns`, CLOCK_BOOTTIME, and not yet `error_ns` before.
  void Begin(std::int64_t now_ns, std::int64_t error_ns);

  // A look at `now_ns`: `stops`: it is frozen, and a task is in it. Means nothing between pauses.
  void See(std::int64_t now_ns, bool stops);

  // The kernel was told to thaw it at `told_ns`, and had done so at most `error_ns` later: until
  // then it was as the last look found it.
  void End(std::int64_t told_ns, std::int64_t error_ns);

  // "paused_ns" and the touches.
  Evidence ToEvidence() const;

 private:
  void Close();

  // Of the pause that is on; 0 between pauses.
  std::int64_t frozen_ns_ = 0;
  std::int64_t freeze_error_ns_ = 0;
  // Since when it stops a task, 0: it does not.
  std::int64_t stops_since_ns_ = 0;
  // The last look of this pause that found no task; 0: none did.
  std::int64_t empty_ns_ = 0;
  // Of what is over.
  std::int64_t paused_ns_ = 0;
  std::int64_t first_ns_ = 0;
  std::int64_t last_ns_ = 0;
  std::int64_t error_ns_ = 0;
};

}  // namespace faultline
