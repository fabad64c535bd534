// SPDX-License-Identifier: Apache-2.0
//
// `faultline halt`: ends every fault, those too that are only scheduled, and refuses new ones. It
// reaches every node through the collector, or on a node its injector, without any network.
#include <algorithm>
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

// How many nodes did as told, of how many.
struct Told {
  int halted = 0;
  int nodes = 0;
};

// The answer counts only whom it could not reach.
absl::StatusOr<Told> CountTold(const Globals& globals, Client& client, const HaltOptions& options,
                               const v1::HaltResponse& response) {
  if (!globals.injector.empty() || !options.node.empty()) {
    return Told{1 - response.unreachable_size(), 1};
  }
  const absl::StatusOr<v1::ListNodesResponse> nodes =
      Call(client.nodes(), &v1::Nodes::Stub::ListNodes, v1::ListNodesRequest());
  if (!nodes.ok()) return nodes.status();
  return Told{nodes->nodes_size() - response.unreachable_size(), nodes->nodes_size()};
}

absl::Status NotAll(bool nobody) {
  return absl::UnavailableError(absl::StrCat(
      nobody ? "nobody could be told, so nothing is halted" : "not every node could be told",
      "; a fault of an injector that lives ends at its deadline, or within 15 s where it came ",
      "through a collector that is gone, ", kLeftByTheDead));
}

absl::Status Halt(const Globals& globals, const HaltOptions& options) {
  absl::StatusOr<Client> dialled = Client::Dial(globals.address(), globals.tls);
  if (!dialled.ok()) return dialled.status();
  Client& client = *dialled;
  v1::HaltRequest request;
  request.set_node(options.node);
  request.set_reason(options.reason);
  const absl::StatusOr<v1::HaltResponse> response =
      Call(client.faults(), &v1::Faults::Stub::Halt, request, kFaultTimeout);
  if (absl::IsUnavailable(response.status())) {
    const absl::Status plain = Plain(response.status(), client.address());
    if (!absl::IsUnavailable(plain)) return plain;
    // It was reached, and may have done it before it went.
    if (!IsUnreached(plain)) {
      return absl::UnavailableError(
          absl::StrCat(plain.message(),
                       "; whether anything is halted is not known: `faultline status` and "
                       "`faultline faults` tell"));
    }
    return absl::UnavailableError(absl::StrCat(plain.message(), "; ", NotAll(true).message()));
  }
  if (!response.ok()) return response.status();
  const absl::StatusOr<Told> told = CountTold(globals, client, options, *response);
  const bool nobody = told.ok() && told->halted <= 0;
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
    const std::string whom =
        told.ok() ? absl::StrCat(" on ", told->halted, " of ", told->nodes, " nodes") : "";
    if (!nobody) {
      const auto left = std::count_if(
          response->ended().begin(), response->ended().end(),
          [](const v1::FaultState& fault) { return fault.phase() == v1::PHASE_UNDOING; });
      terminal.Say(
          absl::StrCat("halted", whom, "; ", response->ended_size(), " faults ended",
                       left == 0 ? "" : absl::StrCat(", ", left, " of them still being undone"),
                       ". Root on each node may `faultline release`"));
    }
  }
  for (const std::string& node : response->unreachable()) {
    const absl::Status why = Plain(absl::UnavailableError(node), client.address());
    terminal.Error(absl::StrCat("not halted: ", why.message()));
  }
  return nobody || !response->unreachable().empty() ? NotAll(nobody) : absl::OkStatus();
}

}  // namespace

void AddHalt(CLI::App& app, Action* action) {
  auto options = std::make_shared<HaltOptions>();
  CLI::App* command =
      app.add_subcommand("halt", "end every fault and refuse new ones until root releases it");
  command->footer(
      "Through the collector it reaches every node that is connected, and says which it could\n"
      "not reach; their faults end without the collector within 15 s, those of their root at\n"
      "the deadline. On a node itself it needs no network:\n"
      "\n"
      "  faultline --injector unix:/run/faultline/agent.sock halt\n"
      "\n"
      "Faults that are only scheduled end too. A halt outlives a restart and a reboot; root\n"
      "releases it on the node, with --injector unix:/run/faultline/root.sock release.");
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
