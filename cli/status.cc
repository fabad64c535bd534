// SPDX-License-Identifier: Apache-2.0
//
// `faultline status` (also `nodes`): the nodes of a collector, or with --injector the one node.
#include <map>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/clock.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/fault_view.h"
#include "cli/json.h"
#include "cli/words.h"

namespace faultline::cli {
namespace {

struct StatusOptions {
  bool json = false;
  bool metrics = false;
};

struct MetricCounts {
  int available = 0;
  int degraded = 0;
  int missing = 0;
};

MetricCounts CountMetrics(const v1::Schema& schema) {
  MetricCounts counts;
  for (const v1::TableSchema& table : schema.tables()) {
    for (const v1::Column& column : table.columns()) {
      if (column.availability() == v1::AVAILABILITY_AVAILABLE) ++counts.available;
      if (column.availability() == v1::AVAILABILITY_DEGRADED) ++counts.degraded;
      if (column.availability() == v1::AVAILABILITY_MISSING) ++counts.missing;
    }
  }
  return counts;
}

std::string Age(std::int64_t realtime_ns) {
  if (realtime_ns == 0) return "none yet";
  // Two machines' clocks may disagree by a little.
  const std::int64_t age = Clock::System().Now().realtime_ns - realtime_ns;
  return age < 0 ? "now" : absl::StrCat(DurationText(age), " ago");
}

// Types of the faults that are active on `node`, as far as anybody knows; "?" where the collector
// does not say.
std::string ActiveFaults(Client& client, const v1::NodeStatus& node) {
  v1::ListRequest request;
  request.set_node(node.node().id());
  request.set_active_only(true);
  const absl::StatusOr<v1::ListResponse> list =
      Call(client.faults(), &v1::Faults::Stub::List, request);
  if (!list.ok()) return "?";
  std::vector<std::string> types;
  for (const v1::FaultState& fault : list->faults()) {
    if (fault.hold()) continue;
    const std::string unknown = UnknownText(fault);
    types.push_back(unknown.empty() ? fault.spec().type()
                                    : absl::StrCat(fault.spec().type(), " (", unknown, ")"));
  }
  // Nobody can tell of faults that a node that is gone, or its own root, started since.
  const bool blind = !node.connected() || node.injector_lost_realtime_ns() != 0;
  std::string text = types.empty() ? (blind ? "?" : "-") : absl::StrJoin(types, ", ");
  if (!list->halted().empty()) absl::StrAppend(&text, " (halted: ", list->halted(), ")");
  return text;
}

std::string NodeState(const Terminal& terminal, const v1::NodeStatus& node) {
  if (!node.connected()) return terminal.Paint(Colour::kBad, "gone");
  if (node.injector_lost_realtime_ns() == 0) return terminal.Paint(Colour::kGood, "connected");
  return terminal.Paint(Colour::kWarn, absl::StrCat("connected, injector away since ",
                                                    ClockText(node.injector_lost_realtime_ns())));
}

void PrintMetrics(Terminal& terminal, const v1::NodeStatus& node) {
  Table table({"TABLE", "COLUMN", "STATE", "HOOK", "REASON"});
  for (const v1::TableSchema& schema : node.schema().tables()) {
    for (const v1::Column& column : schema.columns()) {
      table.Add({schema.name(), column.name(), AvailabilityCell(terminal, column.availability()),
                 column.hook(), column.reason()});
    }
  }
  terminal.out() << "\n" << node.node().id() << "\n" << table.Render(terminal);
}

absl::Status ShowNodes(const Globals& globals, const StatusOptions& options) {
  absl::StatusOr<Client> dialled = Client::Dial(globals.address(), globals.tls);
  if (!dialled.ok()) return dialled.status();
  Client& client = *dialled;
  const absl::StatusOr<v1::ListNodesResponse> nodes =
      Call(client.nodes(), &v1::Nodes::Stub::ListNodes, v1::ListNodesRequest());
  if (!nodes.ok()) return nodes.status();
  Terminal& terminal = *globals.terminal;
  if (options.json) {
    Json list = Json::array();
    for (const v1::NodeStatus& node : nodes->nodes()) list.push_back(ToJson(node));
    terminal.out() << Pretty({{"nodes", list}});
    return absl::OkStatus();
  }
  Table table(
      {"NODE", "STATE", "LAST FRAME", "METRICS (available/degraded/missing)", "FAULTS", "GAPS"});
  for (const v1::NodeStatus& node : nodes->nodes()) {
    const MetricCounts counts = CountMetrics(node.schema());
    table.Add({node.node().id(), NodeState(terminal, node), Age(node.last_frame_realtime_ns()),
               absl::StrCat(counts.available, "/", counts.degraded, "/", counts.missing),
               ActiveFaults(client, node), absl::StrCat(node.gaps())});
  }
  if (table.empty()) {
    terminal.Say(absl::StrCat("no node has reported to ", globals.address(),
                              " yet; start faultline-agent --collector ", globals.address()));
    return absl::OkStatus();
  }
  terminal.out() << table.Render(terminal);
  if (options.metrics) {
    for (const v1::NodeStatus& node : nodes->nodes()) PrintMetrics(terminal, node);
  }
  return absl::OkStatus();
}

absl::Status ShowNode(const Globals& globals, const StatusOptions& options) {
  absl::StatusOr<Client> dialled = Client::Dial(globals.address(), globals.tls);
  if (!dialled.ok()) return dialled.status();
  Client& client = *dialled;
  const absl::StatusOr<v1::Capabilities> capabilities =
      Call(client.faults(), &v1::Faults::Stub::GetCapabilities, v1::CapabilitiesRequest());
  if (!capabilities.ok()) return capabilities.status();
  v1::ListRequest request;
  request.set_active_only(true);
  const absl::StatusOr<v1::ListResponse> active =
      Call(client.faults(), &v1::Faults::Stub::List, request);
  if (!active.ok()) return active.status();
  Terminal& terminal = *globals.terminal;
  if (options.json) {
    Json faults = Json::array();
    for (const v1::FaultState& fault : active->faults()) faults.push_back(ToJson(fault));
    Json types = Json::array();
    for (const v1::FaultInfo& info : capabilities->faults()) types.push_back(ToJson(info));
    Json halted;
    if (!capabilities->halted().empty()) halted = capabilities->halted();
    terminal.out() << Pretty({{"halted", halted},
                              {"active", faults},
                              {"types", types},
                              {"limits", ToJson(capabilities->limits())}});
    return absl::OkStatus();
  }
  if (!capabilities->halted().empty()) {
    terminal.Say(absl::StrCat("halted: ", capabilities->halted(),
                              "; root on the node may `faultline release`"));
  }
  const std::string limits = LimitsText(capabilities->limits());
  terminal.out() << TypesTable(*capabilities).Render(terminal) << "\n"
                 << limits << (limits.empty() ? "" : "\n");
  if (active->faults().empty()) {
    terminal.out() << "no active fault\n";
  } else {
    terminal.out() << FaultsTable(terminal, active->faults()).Render(terminal);
  }
  return absl::OkStatus();
}

}  // namespace

void AddStatus(CLI::App& app, Action* action) {
  auto options = std::make_shared<StatusOptions>();
  CLI::App* command =
      app.add_subcommand("status", "nodes, their last frame, metrics and active faults")
          ->alias("nodes");
  command->add_flag("--json", options->json, "print JSON");
  command->add_flag("--metrics", options->metrics, "list every metric with its state and reason");
  command->callback([options, action] {
    *action = [options](const Globals& globals) {
      return Report(globals, globals.injector.empty() ? ShowNodes(globals, *options)
                                                      : ShowNode(globals, *options));
    };
  });
}

}  // namespace faultline::cli
