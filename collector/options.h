// SPDX-License-Identifier: Apache-2.0
//
// What faultline-collector is started with. Flags are read here and nowhere else.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "base/credentials.h"

namespace faultline {

struct CollectorOptions {
  // "HOST:PORT" (port 0: the system chooses) or "unix:/PATH". Beyond loopback only with TLS.
  std::string listen = "127.0.0.1:4640";
  // Certificates of this collector and of the authority of its callers.
  TlsOptions tls;
  // Where the store lives; made if it is missing.
  std::string state_dir = "/var/lib/faultline-collector";
  // The address that was really taken is written here, one line; empty: nowhere.
  std::string address_file;
  // Bound on what gRPC buffers for all connections together, bytes.
  std::int64_t grpc_memory_bytes = std::int64_t{128} << 20;
};

// Reads the command line. InvalidArgument: wrong usage, the message is for people; empty if it has
// been printed, as it is for a task like --check-config, which is no start of the service.
// Cancelled: help or the version was asked for, the message is it.
absl::StatusOr<CollectorOptions> ParseCollectorOptions(int argc, const char* const* argv);

}  // namespace faultline
