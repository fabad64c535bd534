// SPDX-License-Identifier: Apache-2.0
#include "tests/witness/now.h"

#include <sched.h>
#include <sys/prctl.h>

namespace faultline::witness {

void BePunctual() {
  ::prctl(PR_SET_TIMERSLACK, 1);
  sched_param first{};
  first.sched_priority = 1;
  // Where it is refused (a cpu group without real-time share) the witness is only less exact.
  (void)::sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK, &first);
}

}  // namespace faultline::witness
