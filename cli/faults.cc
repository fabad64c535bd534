// SPDX-License-Identifier: Apache-2.0
//
// `faultline faults`: what was and is injected, as a list or as it changes; and what could be.
#include <ostream>

#include "absl/strings/str_cat.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/fault_view.h"
#include "cli/json.h"
#include "cli/words.h"

namespace faultline::cli {
namespace {

struct FaultsOptions {
  std::string node;
  bool json = false;
  bool active = false;
  bool watch = false;
  bool types = false;
};

absl::Status ShowTypes(const Globals& globals, const FaultsOptions& options) {
  Client client(globals.address());
  v1::CapabilitiesRequest request;
  request.set_node(options.node);
  const absl::StatusOr<v1::Capabilities> capabilities =
      Call(client.faults(), &v1::Faults::Stub::GetCapabilities, request);
  if (!capabilities.ok()) return capabilities.status();
  Terminal& terminal = *globals.terminal;
  if (!options.json) {
    terminal.out() << TypesTable(*capabilities).Render(terminal);
    return absl::OkStatus();
  }
  terminal.out() << Pretty(ToJson(*capabilities));
  return absl::OkStatus();
}

v1::ListRequest MakeRequest(const FaultsOptions& options) {
  v1::ListRequest request;
  request.set_node(options.node);
  request.set_active_only(options.active);
  return request;
}

absl::Status List(const Globals& globals, const FaultsOptions& options) {
  Client client(globals.address());
  const absl::StatusOr<v1::ListResponse> list =
      Call(client.faults(), &v1::Faults::Stub::List, MakeRequest(options));
  if (!list.ok()) return list.status();
  Terminal& terminal = *globals.terminal;
  if (options.json) {
    Json faults = Json::array();
    for (const v1::FaultState& fault : list->faults()) faults.push_back(ToJson(fault));
    Json halted;
    if (!list->halted().empty()) halted = list->halted();
    terminal.out() << Pretty({{"halted", halted}, {"faults", faults}});
    return absl::OkStatus();
  }
  if (!list->halted().empty()) terminal.Say("halted: " + list->halted());
  if (list->faults().empty()) {
    terminal.Say(options.active ? "no active fault" : "no fault so far");
    return absl::OkStatus();
  }
  terminal.out() << FaultsTable(terminal, list->faults()).Render(terminal);
  return absl::OkStatus();
}

// Until the server ends it or a signal ends us.
absl::Status Watch(const Globals& globals, const FaultsOptions& options) {
  Client client(globals.address());
  grpc::ClientContext context;
  const std::unique_ptr<grpc::ClientReader<v1::FaultState>> reader =
      client.faults().Watch(&context, MakeRequest(options));
  Terminal& terminal = *globals.terminal;
  v1::FaultState state;
  while (reader->Read(&state)) {
    terminal.out() << (options.json ? OneLine(ToJson(state)) : FaultLine(terminal, state) + "\n")
                   << std::flush;
    // The reader of our output went away.
    if (!terminal.out()) context.TryCancel();
  }
  const grpc::Status ended = reader->Finish();
  // Said where the program ends.
  if (!terminal.out()) return absl::OkStatus();
  const absl::Status status = Plain(FromServer(ended), client.address());
  if (!absl::IsUnavailable(status)) return status;
  return absl::UnavailableError(
      absl::StrCat(status.message(), "; nothing is watched any more, faults run on as they are"));
}

absl::Status Run(const Globals& globals, const FaultsOptions& options) {
  if (options.types) return ShowTypes(globals, options);
  return options.watch ? Watch(globals, options) : List(globals, options);
}

}  // namespace

void AddFaults(CLI::App& app, Action* action) {
  auto options = std::make_shared<FaultsOptions>();
  CLI::App* command = app.add_subcommand("faults", "faults that ran and run, newest first");
  command->add_flag("--active", options->active, "only those that have not ended");
  CLI::Option* watch =
      command->add_flag("--watch", options->watch, "then every change, one line each");
  command->add_flag("--types", options->types, "what can be injected, with parameters in --json")
      ->excludes(watch);
  command->add_option("--node", options->node, "only this node");
  command->add_flag("--json", options->json, "print JSON; with --watch one object a line");
  command->callback([options, action] {
    *action = [options](const Globals& globals) { return Report(globals, Run(globals, *options)); };
  });
}

}  // namespace faultline::cli
