// SPDX-License-Identifier: Apache-2.0
#include "cli/exit_code.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "cli/words.h"

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
    case absl::StatusCode::kResourceExhausted:
      return kExitPrecondition;
    case absl::StatusCode::kDeadlineExceeded:
      return kExitTimeout;
    case absl::StatusCode::kCancelled:
      return kExitInterrupted;
    default:
      return kExitFailed;
  }
}

namespace {

constexpr absl::string_view kCannotConnect = "cannot connect to ";
constexpr absl::string_view kBrokeOff = "the connection to ";
// Of WhyNot, where somebody answers.
constexpr absl::string_view kWrongChain =
    "its certificate is not of the authority in ca.pem, or not valid now";
constexpr absl::string_view kNoCollector = "who answers shows no collector's certificate";
constexpr absl::string_view kNoTls = "who answers there does not speak TLS";
constexpr absl::string_view kNoHandshake = "no TLS comes about with who answers there";
constexpr absl::string_view kClosed = "who answers there ends the connection at once";

// gRPC's words for a connection that ended.
bool BrokeOff(absl::string_view message) {
  for (absl::string_view words :
       {"Socket closed", "Connection reset", "GOAWAY", "Broken pipe", "Cancelling all calls"}) {
    if (absl::StrContains(message, words)) return true;
  }
  return false;
}

// Why gRPC could not connect.
absl::string_view WhyNot(absl::string_view message) {
  if (absl::StrContains(message, "Permission denied")) return "permission denied";
  if (absl::StrContains(message, "Connection refused")) return "connection refused";
  if (absl::StrContains(message, "No such file")) return "there is no such socket";
  // BoringSSL's and OpenSSL's words for a chain that does not end in ca.pem or is out of date.
  if (absl::StrContains(message, "certificate verify failed")) {
    return kWrongChain;
  }
  if (absl::StrContains(message, "is no collector")) return kNoCollector;
  if (absl::StrContains(message, "wrong version number")) return kNoTls;
  if (absl::StrContains(message, "handshake failed")) return kNoHandshake;
  // A collector that wants TLS and hears none, or refuses the certificate that it is shown.
  if (BrokeOff(message)) return kClosed;
  return "nobody answers there";
}

std::string WhenUnreachable(const Callee& callee) {
  const absl::string_view address = callee.address;
  if (callee.injector) {
    return absl::StrCat("is faultline-injector running on this host, and does it listen on ",
                        absl::StripPrefix(address, "unix:"), "? Its --run-dir says where");
  }
  if (absl::StartsWith(address, "unix:")) {
    return absl::StrCat("does faultline-collector listen on ", absl::StripPrefix(address, "unix:"),
                        "? To talk to a node's injector, name its socket with --injector");
  }
  return absl::StrCat("is faultline-collector running on ", address,
                      "? Name another with --collector or FAULTLINE_COLLECTOR, or talk to this "
                      "node alone with --injector unix:/PATH");
}

// `message` ends in a reason of WhyNot that says that somebody answers.
std::string WhenAnswered(absl::string_view message, const Callee& callee) {
  if (absl::EndsWith(message, kNoTls)) {
    return absl::StrCat("is ", callee.address,
                        " the collector's address? If so, it is one without certificates, which "
                        "listens on loopback only");
  }
  if (!callee.tls) {
    return "it may want TLS: name the folder of an operator's certificate with --tls or "
           "FAULTLINE_TLS";
  }
  if (!absl::EndsWith(message, kClosed)) return "compare its ca.pem and yours, and the clocks";
  return "it may refuse your certificate: compare its ca.pem and yours, and the clocks";
}

bool IsAnswered(absl::string_view message) {
  for (const absl::string_view why : {kWrongChain, kNoCollector, kNoTls, kNoHandshake, kClosed}) {
    if (absl::EndsWith(message, why)) return true;
  }
  return false;
}

std::string WhenUnavailable(absl::string_view message, const Callee& callee) {
  if (callee.address.empty()) return "";
  const bool unreached = absl::StartsWith(message, kCannotConnect);
  if (unreached && !callee.injector && IsAnswered(message)) return WhenAnswered(message, callee);
  if (unreached || absl::StartsWith(message, kBrokeOff)) {
    return WhenUnreachable(callee);
  }
  if (absl::StrContains(message, "injector does not answer")) {
    return "is faultline-injector running on that node? `faultline status` shows the nodes";
  }
  return "";
}

std::string WhenDenied(absl::string_view message, const Callee& callee) {
  if (!callee.injector) {
    return absl::StrContains(message, "needs an operator's certificate")
               ? "--tls names its folder, and `faultline tls operator NAME --ca DIR` makes one, "
                 "DIR being the folder of `faultline tls init DIR`"
               : "";
  }
  // Of the injector, whoever asks: on its other sockets nobody may.
  if (absl::StrContains(message, "root.sock")) {
    const absl::string_view folder = callee.address;
    return absl::StrCat("say it on that socket: --injector ", folder.substr(0, folder.rfind('/')),
                        "/root.sock");
  }
  return "run it as root, or as a member of the group faultline";
}

}  // namespace

absl::Status Plain(const absl::Status& status, absl::string_view where) {
  // Of gRPC 1.51's client channel, for every address that it could not connect to.
  constexpr absl::string_view kConnect = "failed to connect to all addresses";
  if (!absl::IsUnavailable(status)) return status;
  const absl::string_view message = status.message();
  const size_t at = message.find(kConnect);
  if (at == absl::string_view::npos) {
    if (!BrokeOff(message)) return status;
    return absl::UnavailableError(absl::StrCat(kBrokeOff, where, " broke off"));
  }
  const absl::string_view why = WhyNot(message.substr(at));
  if (at != 0) return absl::UnavailableError(absl::StrCat(message.substr(0, at), why));
  if (why == "permission denied") {
    return absl::PermissionDeniedError(absl::StrCat("you may not connect to ", where));
  }
  return absl::UnavailableError(absl::StrCat(kCannotConnect, where, ": ", why));
}

bool IsUnreached(const absl::Status& status) {
  return absl::IsUnavailable(status) && absl::StartsWith(status.message(), kCannotConnect);
}

// A fault that did not run as asked is a failure, though the call was answered.
absl::Status Outcome(const v1::FaultState& fault, bool interrupted) {
  switch (fault.phase()) {
    case v1::PHASE_REFUSED:
      if (interrupted) return absl::CancelledError("interrupted; the fault has not begun");
      return absl::FailedPreconditionError("refused: " + fault.reason());
    case v1::PHASE_FAILED:
      return absl::InternalError("failed: " + fault.reason());
    case v1::PHASE_INTERFERED:
      return absl::AbortedError("interfered: " + fault.reason());
    default:
      break;
  }
  if (!fault.residue().empty()) return absl::InternalError("the state of before is not back");
  if (fault.phase() != v1::PHASE_UNDONE) return absl::OkStatus();
  if (interrupted) return absl::CancelledError("interrupted; the fault has been undone");
  const std::int64_t early_ns = fault.deadline_boottime_ns() - fault.edges().undone().boottime_ns();
  if (early_ns <= 0) return absl::OkStatus();
  return absl::AbortedError(absl::StrCat(
      "the fault ended ", DurationText(early_ns),
      " before its deadline: ", fault.reason().empty() ? "no reason is known" : fault.reason()));
}

std::string NextStep(const absl::Status& status, const Callee& callee) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
      return WhenUnavailable(status.message(), callee);
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kUnauthenticated:
      return WhenDenied(status.message(), callee);
    case absl::StatusCode::kDeadlineExceeded:
      return "the command may still have been carried out: look with `faultline faults`";
    default:
      return "";
  }
}

}  // namespace faultline::cli
