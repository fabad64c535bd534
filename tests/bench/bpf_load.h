// SPDX-License-Identifier: Apache-2.0
//
// Work that makes every hook fire which can be made to fire without harm: context switches, forks
// and exits, connections and packets on loopback, synced writes, and page cache beyond the limit of
// a control group of the bench's own. Leaves nothing behind.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"

namespace faultline {

// Until `until_ns` of CLOCK_BOOTTIME; files go to `folder`.
absl::Status RunBpfLoad(const std::string& folder, std::int64_t until_ns);

}  // namespace faultline
