// SPDX-License-Identifier: Apache-2.0
//
// Stopping every task of a control group: freezer.state of cgroup v1, cgroup.freeze of v2. Change:
// kind "freezer", object the group. One thread at a time.
#pragma once

#include <string>

#include "base/clock.h"
#include "injector/host/cgroup.h"
#include "injector/host/lever.h"

namespace faultline {

// As Host::Freezer. FailedPrecondition: it is frozen already, itself or by a group above it.
LeverOr MakeFreezer(Cgroups* cgroups, Clock* clock, const std::string& cgroup, bool freezes);
LeverOr RecoverFreezer(Cgroups* cgroups, Clock* clock, const v1::Change& change);

}  // namespace faultline
