// SPDX-License-Identifier: Apache-2.0
//
// What a failure means to the shell and to the person: exit codes that scripts may branch on, and
// the sentence that says what to do next. Stateless.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "faultline/v1/faults.pb.h"

namespace faultline::cli {

// Documented in docs/cli.md; the numbers never change.
enum ExitCode : std::uint8_t {
  kExitOk = 0,
  kExitFailed = 1,
  kExitUsage = 2,
  kExitUnreachable = 3,
  kExitDenied = 4,
  kExitPrecondition = 5,
  kExitTimeout = 124,
  kExitInterrupted = 130,
};

// Of a fault whose injector has died; ends a sentence.
constexpr absl::string_view kLeftByTheDead =
    "what an injector that died left is undone by its keeper at once, or when it is started again, "
    "or by `faultline-injector --undo` on that host";

ExitCode ExitCodeOf(const absl::Status& status);

// gRPC's words for a peer that cannot be reached, made plain: PermissionDenied where the socket may
// not be opened, otherwise Unavailable with one short sentence. What a collector says of a node
// that it cannot reach keeps its beginning. Others come back as they are.
absl::Status Plain(const absl::Status& status, absl::string_view where);

// Nobody was reached, so nobody has done what was asked. `status` is of Plain.
bool IsUnreached(const absl::Status& status);

// What `inject` makes of the state that it was answered or, with --wait, of the end: OK if the
// fault stands or ended at its deadline with nothing left behind, Cancelled if the user ended it
// (`interrupted`) and all is undone.
absl::Status Outcome(const v1::FaultState& fault, bool interrupted);

// Who was spoken to.
struct Callee {
  // Empty if nobody was.
  std::string address;
  // A node's injector; otherwise the collector.
  bool injector = false;
  // It was spoken to with TLS.
  bool tls = false;
};

// What a person can do about `status`, which Plain has seen; empty where the message says it.
std::string NextStep(const absl::Status& status, const Callee& callee);

}  // namespace faultline::cli
