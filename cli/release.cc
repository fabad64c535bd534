// SPDX-License-Identifier: Apache-2.0
//
// `faultline release`: lifts a halt. Root on the node alone may, so it always speaks to the node's
// root socket.
#include <ostream>

#include "cli/client.h"
#include "cli/command.h"
#include "cli/json.h"

namespace faultline::cli {
namespace {

constexpr const char* kRootSocket = "unix:/run/faultline/root.sock";

absl::Status Release(const Globals& globals, bool json) {
  absl::StatusOr<Client> dialled = Client::Dial(globals.injector, globals.tls);
  if (!dialled.ok()) return dialled.status();
  Client& client = *dialled;
  const absl::StatusOr<v1::ReleaseResponse> response =
      Call(client.faults(), &v1::Faults::Stub::Release, v1::ReleaseRequest(), kFaultTimeout);
  if (!response.ok()) return response.status();
  if (json) {
    globals.terminal->out() << Pretty({{"was_halted", response->was_halted()}});
  } else {
    globals.terminal->Say(response->was_halted() ? "released: faults may be injected again"
                                                 : "no halt was in force");
  }
  return absl::OkStatus();
}

}  // namespace

void AddRelease(CLI::App& app, Action* action) {
  auto json = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand(
      "release", "lift a halt on this node (root; --injector names another socket)");
  command->add_flag("--json", *json, "print JSON");
  command->callback([json, action] {
    *action = [json](const Globals& globals) {
      Globals root = globals;
      if (root.injector.empty()) root.injector = kRootSocket;
      return Report(root, Release(root, *json));
    };
  });
}

}  // namespace faultline::cli
