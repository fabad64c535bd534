// SPDX-License-Identifier: Apache-2.0
//
// The network's standing planes of this host: made when the service starts, journaled, left
// standing when it stops, and removed only with it. Main calls these before the controller gets the
// journal.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "injector/host/host.h"
#include "injector/journal.h"

namespace faultline {

// Makes the plane of each device, journaled first. A device that cannot have one is reported and
// left out: faults that need it are refused with the reason.
void SetUpPlanes(Journal& journal, const std::vector<std::string>& devices);

// Takes away every plane that the journal knows.
absl::Status RemovePlanes(Journal& journal, Host& host);

}  // namespace faultline
