// SPDX-License-Identifier: Apache-2.0
#include "collector/routing.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace faultline {
namespace {

using std::chrono::system_clock;

// For callers that set no deadline. Starting a fault takes milliseconds, undoing one that waits for
// systemd seconds.
constexpr std::chrono::seconds kDefaultTimeout{60};

}  // namespace

system_clock::time_point DeadlineOf(grpc::CallbackServerContext* context) {
  // Without a deadline gRPC reports one in the far future.
  const auto latest = system_clock::now() + std::chrono::hours(24);
  return context->deadline() < latest ? context->deadline() : system_clock::now() + kDefaultTimeout;
}

std::vector<std::string> NodeNames(const std::vector<NodeRow>& rows) {
  std::vector<std::string> names;
  names.reserve(rows.size());
  for (const NodeRow& row : rows) names.push_back(row.status.node().id());
  return names;
}

absl::Status Absent(const std::string& node, const std::vector<std::string>& known) {
  if (std::find(known.begin(), known.end(), node) != known.end()) {
    return absl::UnavailableError(
        absl::StrCat("node ", node,
                     " is not connected; is faultline-agent running there, and can it reach the "
                     "collector?"));
  }
  if (known.empty()) {
    return absl::NotFoundError(absl::StrCat("no node is named ", node, "; none ever connected"));
  }
  return absl::NotFoundError(
      absl::StrCat("no node is named ", node, "; known are ", absl::StrJoin(known, ", ")));
}

absl::StatusOr<std::string> OnlyNode(const Fleet& fleet) {
  const std::vector<std::string> connected = fleet.Connected();
  if (connected.size() == 1) return connected[0];
  if (connected.empty()) {
    return absl::UnavailableError("no node is connected; is faultline-agent running?");
  }
  return absl::InvalidArgumentError(
      absl::StrCat("several nodes are connected, name one of ", absl::StrJoin(connected, ", ")));
}

}  // namespace faultline
