// SPDX-License-Identifier: Apache-2.0
//
// The demo's workload: a real web server and a client that asks at a steady rate, both from
// Debian's packages. Everything they need is written into a folder of the demo's. Stateless.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace faultline::cli {

// Requests per second over all connections; half for each page.
constexpr int kConnections = 8;
constexpr int kRequestsPerConnection = 25;
constexpr std::uint16_t kServerPort = 8080;

// FailedPrecondition with the package's name if nginx or h2load is not installed.
absl::Status FindLoadPrograms();

// Writes nginx.conf and the pages into `dir`. The server listens on `address`.
absl::Status WriteServerFiles(const std::string& dir, const std::string& address);

// Command lines. nginx stays in the foreground and leaves no file outside `dir`.
std::vector<std::string> ServerCommand(const std::string& dir);
std::vector<std::string> ClientCommand(const std::string& address);

}  // namespace faultline::cli
