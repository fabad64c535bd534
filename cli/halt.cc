// SPDX-License-Identifier: Apache-2.0
//
// `faultline halt`: ends every fault and refuses new ones.
#include <ostream>

#include "absl/strings/str_cat.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/fault_view.h"
#include "cli/json.h"

namespace faultline::cli {
namespace {

struct HaltOptions {
  std::string reason = "halted by hand";
  std::string node;
  bool json = false;
};

absl::Status Halt(const Globals& globals, const HaltOptions& options) {
  absl::StatusOr<Client> dialled = Client::Dial(globals.address(), globals.tls);
  if (!dialled.ok()) return dialled.status();
  Client& client = *dialled;
  v1::HaltRequest request;
  request.set_node(options.node);
  request.set_reason(options.reason);
  const absl::StatusOr<v1::HaltResponse> response =
      Call(client.faults(), &v1::Faults::Stub::Halt, request, kFaultTimeout);
  if (!response.ok()) return response.status();
  Terminal& terminal = *globals.terminal;
  if (options.json) {
    Json ended = Json::array();
    for (const v1::FaultState& fault : response->ended()) ended.push_back(ToJson(fault));
    terminal.out() << Pretty(
        {{"ended", ended},
         {"unreachable", std::vector<std::string>(response->unreachable().begin(),
                                                  response->unreachable().end())}});
  } else {
    for (const v1::FaultState& fault : response->ended()) {
      terminal.out() << FaultLine(terminal, fault) << "\n";
    }
    terminal.Say(absl::StrCat("halted; ", response->ended_size(),
                              " ended. Root on each node may `faultline release`"));
  }
  if (response->unreachable().empty()) return absl::OkStatus();
  for (const std::string& node : response->unreachable()) terminal.Error("not halted: " + node);
  return absl::UnavailableError(
      "not every node could be told; their faults end at their own deadlines");
}

}  // namespace

void AddHalt(CLI::App& app, Action* action) {
  auto options = std::make_shared<HaltOptions>();
  CLI::App* command =
      app.add_subcommand("halt", "end every fault and refuse new ones until root releases it");
  command->add_option("--reason", options->reason, "shown to everybody who is refused")
      ->capture_default_str();
  command->add_option("--node", options->node, "only this node");
  command->add_flag("--json", options->json, "print JSON");
  command->callback([options, action] {
    *action = [options](const Globals& globals) {
      return Report(globals, Halt(globals, *options));
    };
  });
}

}  // namespace faultline::cli
