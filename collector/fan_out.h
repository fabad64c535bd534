// SPDX-License-Identifier: Apache-2.0
//
// Commands to several nodes at once, and one call when all have answered. Stateless; `done` runs
// on whatever thread the last answer came on, or on the caller's if there is no node.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "collector/fleet.h"

namespace faultline {

// By node; Unavailable for those that are not connected.
using Answers = std::map<std::string, absl::StatusOr<v1::CommandResult>>;

struct NodeCommand {
  std::string node;
  v1::Command command;
};
// One answer per command, in their order.
void FanOutEach(const Fleet& fleet, const std::vector<NodeCommand>& commands,
                std::chrono::system_clock::time_point deadline,
                std::function<void(std::vector<absl::StatusOr<v1::CommandResult>>)> done);

// One command to all of `nodes`, each of which is named once.
void FanOut(const Fleet& fleet, const std::vector<std::string>& nodes, const v1::Command& command,
            std::chrono::system_clock::time_point deadline, std::function<void(Answers)> done);

}  // namespace faultline
