// SPDX-License-Identifier: Apache-2.0
//
// What a failure means to the shell and to the person: exit codes that scripts may branch on, and
// the sentence that says what to do next. Stateless.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

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

ExitCode ExitCodeOf(const absl::Status& status);

// gRPC's words for a peer that cannot be reached, made plain: PermissionDenied where the socket may
// not be opened, otherwise Unavailable with one short sentence. Others come back as they are.
absl::Status Plain(const absl::Status& status, absl::string_view where);

// What a person can do about `status`; empty where the message itself says it. `where` is the
// address that was spoken to, empty if none was.
std::string NextStep(const absl::Status& status, absl::string_view where);

}  // namespace faultline::cli
