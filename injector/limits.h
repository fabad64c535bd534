// SPDX-License-Identifier: Apache-2.0
//
// What this host's owner allows, in the words of the contract, for whoever asks before they inject.
// Pure functions, any thread.
#pragma once

#include "absl/types/span.h"
#include "faultline/v1/faults.pb.h"
#include "injector/guard.h"
#include "injector/stop_conditions.h"

namespace faultline {

v1::Limits DescribeLimits(const GuardPolicy& policy, bool autonomous,
                          absl::Span<const v1::PeerFilter> exempt, const StopConditions& stop);

}  // namespace faultline
