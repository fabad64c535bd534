// SPDX-License-Identifier: Apache-2.0
#include "collector/options.h"

#include <CLI/CLI.hpp>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/reference.h"

namespace faultline {
namespace {

// Names that resolve to loopback by RFC 6761 or are loopback addresses themselves.
bool IsLoopback(absl::string_view host) {
  if (host == "localhost" || host == "::1" || host == "[::1]") return true;
  int dots = 0;
  for (const char c : host) {
    if (c == '.') ++dots;
    if (c != '.' && (c < '0' || c > '9')) return false;
  }
  return dots == 3 && absl::StartsWith(host, "127.");
}

}  // namespace

absl::Status CheckListenAddress(absl::string_view listen) {
  absl::string_view rest = listen;
  if (absl::ConsumePrefix(&rest, "unix:")) {
    if (rest.empty()) return absl::InvalidArgumentError("--listen unix: lacks the socket's path");
    return absl::OkStatus();
  }
  const auto colon = listen.rfind(':');
  int port = -1;
  if (colon == absl::string_view::npos || !absl::SimpleAtoi(listen.substr(colon + 1), &port) ||
      port < 0 || port > 65535) {
    return absl::InvalidArgumentError(
        absl::StrCat("--listen ", listen, " is neither HOST:PORT nor unix:PATH"));
  }
  if (IsLoopback(listen.substr(0, colon))) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "--listen ", listen,
      " is not on loopback, and connections are neither encrypted nor authenticated yet. Listen on "
      "127.0.0.1:4640 and let nodes come through a tunnel: ssh -N -L 4640:127.0.0.1:4640 "
      "COLLECTOR-HOST on each node."));
}

absl::StatusOr<CollectorOptions> ParseCollectorOptions(int argc, const char* const* argv) {
  CollectorOptions options;
  CLI::App app{
      "Takes what Faultline's nodes measure, stores it, relays fault commands and makes "
      "datasets.",
      "faultline-collector"};
  app.set_version_flag("--version", "faultline-collector " FAULTLINE_VERSION);
  app.add_option("--listen", options.listen,
                 "HOST:PORT on loopback (port 0: the system chooses) or unix:PATH")
      ->capture_default_str();
  app.add_option("--state-dir", options.state_dir, "Directory of the store; made if missing")
      ->capture_default_str();
  app.add_option("--address-file", options.address_file,
                 "File that the address taken is written to");
  app.add_option("--grpc-memory", options.grpc_memory_bytes,
                 "Bound on the network buffers of all connections, bytes")
      ->capture_default_str()
      ->check(CLI::Range(std::int64_t{16} << 20, std::int64_t{64} << 30));
  AddReference(&app, 8);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    return absl::CancelledError(app.help());
  } catch (const CLI::CallForVersion& version) {
    return absl::CancelledError(absl::StrCat(version.what(), "\n"));
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(error.what());
  }
  const auto status = CheckListenAddress(options.listen);
  if (!status.ok()) return status;
  return options;
}

}  // namespace faultline
