// SPDX-License-Identifier: Apache-2.0
//
// What the agent can be told on its command line. Parsed once by main; nothing below reads a flag
// or the environment.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "base/credentials.h"

namespace faultline {

struct AgentOptions {
  // Name of this node in the fleet; default: what its certificate says, without one the host's
  // name.
  std::string node;
  // Where samples go, as gRPC writes addresses. Beyond loopback only with TLS.
  std::string collector = "127.0.0.1:4640";
  // Certificates of this node and of the authority of its collector.
  TlsOptions tls;
  // Socket of the node's injector; empty: there is none.
  std::string injector;
  // Time between two ticks, ns; 10 ms to 60 s.
  std::int64_t interval_ns = 1'000'000'000;
  // Control groups with a row of their own.
  int max_cgroups = 64;
  // Bound of the batches that wait for the collector, bytes.
  std::int64_t buffer_bytes = 32LL << 20;
  // Only load and attach everything, print the verdicts, and exit.
  bool check = false;
  // With check: anything but "available" is a failure. Without: refuses to run then.
  bool strict = false;
  // Print docs/metrics.md and exit.
  bool metrics_doc = false;
};

// Cancelled: help or version was asked for and has been printed. InvalidArgument: what is wrong;
// empty if it has been printed, as it is for a task like --check, which is no start of the service.
// FailedPrecondition: nothing is wrong with the options, but the certificates are missing or unfit
// that they ask for; they may come.
absl::StatusOr<AgentOptions> ParseAgentOptions(int argc, char** argv);

}  // namespace faultline
