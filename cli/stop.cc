// SPDX-License-Identifier: Apache-2.0
//
// `faultline stop ID`: ends one fault before its deadline.
#include <ostream>

#include "cli/client.h"
#include "cli/command.h"
#include "cli/fault_view.h"
#include "cli/json.h"

namespace faultline::cli {
namespace {

struct StopOptions {
  std::string id;
  std::string node;
  bool json = false;
};

absl::Status Stop(const Globals& globals, const StopOptions& options) {
  absl::StatusOr<Client> dialled = Client::Dial(globals.address(), globals.tls);
  if (!dialled.ok()) return dialled.status();
  Client& client = *dialled;
  v1::StopRequest request;
  request.set_fault_id(options.id);
  request.set_node(options.node);
  const absl::StatusOr<v1::FaultState> state =
      Call(client.faults(), &v1::Faults::Stub::Stop, request, kFaultTimeout);
  if (!state.ok()) return state.status();
  Terminal& terminal = *globals.terminal;
  if (options.json) {
    terminal.out() << Pretty(ToJson(*state));
  } else {
    terminal.out() << FaultLine(terminal, *state) << "\n" << EdgesText(*state);
  }
  return absl::OkStatus();
}

}  // namespace

void AddStop(CLI::App& app, Action* action) {
  auto options = std::make_shared<StopOptions>();
  CLI::App* command = app.add_subcommand("stop", "end a fault now; returns when it is undone");
  command->add_option("ID", options->id, "id of the fault, as `inject` printed it")->required();
  command->add_option("--node", options->node, "node that it runs on");
  command->add_flag("--json", options->json, "print JSON");
  command->callback([options, action] {
    *action = [options](const Globals& globals) {
      return Report(globals, Stop(globals, *options));
    };
  });
}

}  // namespace faultline::cli
