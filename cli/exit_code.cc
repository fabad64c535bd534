// SPDX-License-Identifier: Apache-2.0
#include "cli/exit_code.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace faultline::cli {

ExitCode ExitCodeOf(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return kExitOk;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kOutOfRange:
    // A name that is not there, or is taken: another one would be right.
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kAlreadyExists:
      return kExitUsage;
    case absl::StatusCode::kUnavailable:
      return kExitUnreachable;
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
      return kExitDenied;
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kUnimplemented:
      return kExitPrecondition;
    case absl::StatusCode::kDeadlineExceeded:
      return kExitTimeout;
    case absl::StatusCode::kCancelled:
      return kExitInterrupted;
    default:
      return kExitFailed;
  }
}

absl::Status Plain(const absl::Status& status, absl::string_view where) {
  // Of gRPC 1.51's client channel, for every address that it could not connect to.
  constexpr absl::string_view kConnect = "failed to connect to all addresses";
  if (!absl::IsUnavailable(status) || !absl::StartsWith(status.message(), kConnect)) return status;
  if (absl::StrContains(status.message(), "Permission denied")) {
    return absl::PermissionDeniedError(absl::StrCat("you may not connect to ", where));
  }
  absl::string_view why = "nobody answers there";
  // BoringSSL's and OpenSSL's words for a chain that does not end in ca.pem or is out of date.
  if (absl::StrContains(status.message(), "certificate verify failed")) {
    why = "its certificate is not of the authority in ca.pem, or not valid now";
  }
  if (absl::StrContains(status.message(), "is no collector")) {
    why = "who answers shows no collector's certificate";
  }
  if (absl::StrContains(status.message(), "Connection refused")) why = "connection refused";
  if (absl::StrContains(status.message(), "No such file")) why = "there is no such socket";
  return absl::UnavailableError(absl::StrCat("cannot connect to ", where, ": ", why));
}

std::string NextStep(const absl::Status& status, absl::string_view where) {
  const bool node_socket = absl::StartsWith(where, "unix:");
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
      if (where.empty()) return "";
      return node_socket
                 ? absl::StrCat("is faultline-injector running, and may you open ", where.substr(5),
                                "? Its owner is root, its group faultline")
                 : absl::StrCat("is faultline-collector running on ", where,
                                "? Name another with --collector or FAULTLINE_COLLECTOR, or talk "
                                "to this node alone with --injector unix:PATH");
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
      return node_socket ? "run it as root, or as a member of the group faultline"
                         : "run it as root on the node itself";
    case absl::StatusCode::kDeadlineExceeded:
      return "the command may still have been carried out: look with `faultline faults`";
    default:
      return "";
  }
}

}  // namespace faultline::cli
