// SPDX-License-Identifier: Apache-2.0
//
// Which node a call means, what to say where there is none, and until when it is waited for. Pure
// functions, any thread.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "collector/fleet.h"
#include "collector/store/catalogue.h"

namespace faultline {

// The caller's, or a minute from now.
std::chrono::system_clock::time_point DeadlineOf(grpc::CallbackServerContext* context);

std::vector<std::string> NodeNames(const std::vector<NodeRow>& rows);

// Unavailable: `node` is one of `known`, but not connected; NotFound: it is none.
absl::Status Absent(const std::string& node, const std::vector<std::string>& known);

// The only connected node, or what to do instead.
absl::StatusOr<std::string> OnlyNode(const Fleet& fleet);

}  // namespace faultline
