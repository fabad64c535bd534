// SPDX-License-Identifier: Apache-2.0
//
// How soon a fault in the kernel ends with its injector, by a witness.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "tests/trials/site.h"

namespace faultline {

// ms from the kill to the last packet that was lost, which was sent at that time.
struct Deaths {
  // By the group's program, and by the device's.
  std::vector<double> inbound;
  std::vector<double> outbound;
  // Until the killed process is gone.
  std::vector<double> gone;
  // Packets that were sent after that, and lost.
  std::int64_t lost_after = 0;
};

// `count` times: every packet of the target is lost, in both directions; the injector is killed.
// Internal: one of the losses did not begin, or did not end.
absl::StatusOr<Deaths> MeasureDeaths(TrialSite* site, int count);

}  // namespace faultline
