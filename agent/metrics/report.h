// SPDX-License-Identifier: Apache-2.0
//
// The metrics as text for people: what this host can measure (faultline-agent --check) and what
// there is at all (docs/metrics.md, faultline-agent --metrics-doc). Both come from the rows of
// table.cc. Stateless; any thread.
#pragma once

#include <string>
#include <vector>

#include "agent/metrics/metric.h"
#include "faultline/v1/telemetry.pb.h"

namespace faultline {

// Where a field is read, as far as the row alone says: "/proc/meminfo", "bpf/sched.bpf.c
// runq_wait".
std::string FieldText(const Field& field);

// One line per metric: verdict, table.column, where it is read, why not better; then the totals.
std::string CapabilityReport(const v1::Schema& schema);

// "93 available, 0 degraded, 4 missing".
std::string CapabilityTotals(const v1::Schema& schema);

// For the log of a service, where nobody reads the report: per reason one sentence with the columns
// that are missing or degraded by it.
std::vector<std::string> Shortcomings(const v1::Schema& schema);

// Why nothing is measured by BPF on a kernel that has it: programs were forbidden to this process
// and none is attached. Empty: one is, or something else keeps them all away.
std::string BpfDenial(const v1::Schema& schema);

// The text of docs/metrics.md.
std::string MetricsMarkdown();

}  // namespace faultline
