// SPDX-License-Identifier: Apache-2.0
//
// Faults and fault types as tables and paragraphs, for every subcommand that shows them. Stateless.
#pragma once

#include <string>

#include "cli/terminal.h"
#include "faultline/v1/faults.pb.h"

namespace faultline::cli {

using FaultList = google::protobuf::RepeatedPtrField<v1::FaultState>;

// One row per fault: id, type, target, node, phase, times, dose, verdict.
Table FaultsTable(const Terminal& terminal, const FaultList& faults);
// One row per type: availability with its reason, targets, what it does.
Table TypesTable(const v1::Capabilities& capabilities);
// What the node's owner allows, a few lines; empty from an injector that does not tell.
std::string LimitsText(const v1::Limits& limits);
// The same in half a sentence: "at most 4 faults at a time, 60 min each, 50 % of any hour".
std::string AllowedText(const v1::Limits& limits);
// What a type does and every parameter with its bounds: the help text of its row.
std::string TypeHelp(const Terminal& terminal, const v1::FaultInfo& info);

// One line for a progress display or for --watch: time, id, type, phase, dose.
std::string FaultLine(const Terminal& terminal, const v1::FaultState& fault);
// Id, then one line per edge that has happened, relative to the command.
std::string EdgesText(const v1::FaultState& fault);
// "before -> after" of every change, and the notes.
std::string PlanText(const v1::Plan& plan);

// "unknown since 12:00:00.000" for a fault that nobody sees any more; empty for every other.
std::string UnknownText(const v1::FaultState& fault);

std::string AvailabilityCell(const Terminal& terminal, v1::Availability availability);

}  // namespace faultline::cli
