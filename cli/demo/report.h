// SPDX-License-Identifier: Apache-2.0
//
// What the demo shows at its end. Stateless.
#pragma once

#include <string>
#include <vector>

#include "cli/demo/check.h"
#include "cli/terminal.h"
#include "faultline/v1/datasets.pb.h"

namespace faultline::cli {

// Per fault its edges in seconds after `begin_realtime_ns`, its dose, verdict, and what moved most.
std::string FaultReport(const Terminal& terminal, const v1::ExportSummary& summary,
                        std::int64_t begin_realtime_ns);

// One line per finding: "ok" or "DISAGREES".
std::string FindingReport(const Terminal& terminal, const std::vector<Finding>& findings);

// How to open dataset `dir`.
std::string OpenHint(const std::string& dir);

}  // namespace faultline::cli
