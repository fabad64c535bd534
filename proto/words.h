// SPDX-License-Identifier: Apache-2.0
//
// The words of the contract: its enums and targets as people type them and read them, the same in
// every table, file and JSON. Stateless, any thread.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "faultline/v1/datasets.pb.h"
#include "faultline/v1/faults.pb.h"

namespace faultline {

// "verified", "undone", ...; "unknown" for a phase of a newer program.
absl::string_view PhaseWord(v1::Phase phase);
// "effective", "no_effect", ...; empty while there is none.
absl::string_view VerdictWord(v1::Verdict verdict);
// "available", "degraded", "missing" or "unknown".
absl::string_view AvailabilityWord(v1::Availability availability);
// "all", "part" or "unknown"; empty while the run is open.
absl::string_view HeldWord(v1::Held held);

// Undone, refused, failed or interfered: nothing more will happen to the fault.
bool IsFinal(v1::Phase phase);

// As --target takes it: "cgroup:/web", "unit:nginx.service", "pid:4711", "dev:eth0", "host"; empty
// for none.
std::string TargetText(const v1::Target& target);

}  // namespace faultline
