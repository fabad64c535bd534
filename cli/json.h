// SPDX-License-Identifier: Apache-2.0
//
// The messages of the contract as the JSON that --json prints. docs/cli.md writes the schema out;
// names are never changed or removed, only added. Unknown is null, never 0. Stateless.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "faultline/v1/datasets.pb.h"
#include "faultline/v1/faults.pb.h"

namespace faultline::cli {

// Keeps the order in which keys are added.
using Json = nlohmann::ordered_json;

Json ToJson(const v1::FaultState& state);
Json ToJson(const v1::FaultInfo& info);
// {"types": [...], "limits": {...}}
Json ToJson(const v1::Capabilities& capabilities);
// Null: it does not tell.
Json ToJson(const v1::Limits& limits);
Json ToJson(const v1::Plan& plan);
Json ToJson(const v1::NodeStatus& node);
Json ToJson(const v1::Run& run);
Json ToJson(const v1::ExportSummary& summary);

// Indented by two, with a line end; bytes that are no UTF-8 are replaced, so it cannot fail.
std::string Pretty(const Json& json);
// On one line, with a line end.
std::string OneLine(const Json& json);

}  // namespace faultline::cli
