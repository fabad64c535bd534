// SPDX-License-Identifier: Apache-2.0
//
// What people type on the command line, turned into the messages of the contract. Every refusal is
// InvalidArgument with a sentence that quotes the text and shows a right one. Bounds of parameters
// are not known here: the node checks them. Stateless.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "faultline/v1/datasets.pb.h"
#include "faultline/v1/faults.pb.h"

namespace faultline::cli {

// "cgroup:/web", "unit:nginx.service", "pid:4711", "dev:eth0" or "host".
absl::StatusOr<v1::Target> ParseTarget(absl::string_view text);

// "[NODE/]TARGET", what a run is about: "edge-1/unit:nginx.service"; without a node it is `node`.
absl::StatusOr<v1::RunTarget> ParseRunTarget(absl::string_view text, absl::string_view node);

// "30s", "1m30s", "250ms": positive, ns.
absl::StatusOr<std::int64_t> ParseDuration(absl::string_view text);

// "name=value".
absl::StatusOr<std::pair<std::string, std::string>> ParseParameter(absl::string_view text);

}  // namespace faultline::cli
