// SPDX-License-Identifier: Apache-2.0
//
// Looking at when a CPU limit holds tasks of a control group back, as a lever: it changes nothing
// but what is seen, so it never fails a fault, and nothing of it is left when its process is gone.
// Change: kind "watch", object the group. One thread at a time.
#pragma once

#include <string>

#include "base/clock.h"
#include "injector/host/lever.h"
#include "injector/host/throttling.h"

namespace faultline {

inline constexpr char kWatchKind[] = "watch";

// Its Measure has the touches: the first moment at which a run queue of the group held a task back,
// and the last one, which is now while one does. `missing`: they are not known this way.
LeverOr MakeThrottleLever(Throttling* throttling, Clock* clock, const std::string& cgroup);
LeverOr RecoverThrottleLever(const v1::Change& change);

}  // namespace faultline
