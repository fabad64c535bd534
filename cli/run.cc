// SPDX-License-Identifier: Apache-2.0
//
// `faultline run start|stop|list`: named spans of time, the unit of export.
#include <ostream>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/json.h"
#include "cli/parse.h"
#include "cli/words.h"

namespace faultline::cli {
namespace {

struct RunOptions {
  std::string name;
  std::string note;
  std::vector<std::string> targets;
  std::string node;
  std::string hold_for;
  bool json = false;
};

std::string TimeText(std::int64_t realtime_ns) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::FromUnixNanos(realtime_ns),
                          absl::UTCTimeZone());
}

void Show(const Globals& globals, const v1::Run& run, bool json) {
  if (json) {
    globals.terminal->out() << Pretty(ToJson(run));
    return;
  }
  const bool open = run.end_realtime_ns() == 0;
  globals.terminal->out() << run.name() << (open ? " open since " : " from ")
                          << TimeText(run.begin_realtime_ns());
  if (!open) globals.terminal->out() << " to " << TimeText(run.end_realtime_ns());
  globals.terminal->out() << "\n";
  for (const v1::RunTarget& target : run.targets()) {
    const std::string name = absl::StrCat(TargetText(target.target()), " on ", target.node());
    if (open) {
      globals.terminal->out() << "controllers held on for " << name << "\n";
    } else if (!target.remark().empty()) {
      globals.terminal->Say(absl::StrCat("note: ", name, ": ", target.remark()));
    }
  }
}

absl::StatusOr<v1::StartRunRequest> MakeRequest(const RunOptions& options) {
  v1::StartRunRequest request;
  request.set_name(options.name);
  request.set_note(options.note);
  if (options.targets.empty() && !(options.node.empty() && options.hold_for.empty())) {
    return absl::InvalidArgumentError(
        "--node and --for say where and how long something is held: give --target, too");
  }
  for (const std::string& text : options.targets) {
    absl::StatusOr<v1::RunTarget> target = ParseRunTarget(text, options.node);
    if (!target.ok()) return target.status();
    *request.add_targets() = *std::move(target);
  }
  if (options.hold_for.empty()) return request;
  const absl::StatusOr<std::int64_t> hold = ParseDuration(options.hold_for);
  if (!hold.ok()) return hold.status();
  request.set_hold_ns(*hold);
  return request;
}

absl::Status Start(const Globals& globals, const RunOptions& options) {
  const absl::StatusOr<v1::StartRunRequest> request = MakeRequest(options);
  if (!request.ok()) return request.status();
  absl::StatusOr<Client> dialled = Client::Dial(globals.address(), globals.tls);
  if (!dialled.ok()) return dialled.status();
  Client& client = *dialled;
  const absl::StatusOr<v1::Run> run =
      Call(client.runs(), &v1::Runs::Stub::StartRun, *request, kFaultTimeout);
  if (run.ok()) Show(globals, *run, options.json);
  return run.status();
}

absl::Status Stop(const Globals& globals, const RunOptions& options) {
  absl::StatusOr<Client> dialled = Client::Dial(globals.address(), globals.tls);
  if (!dialled.ok()) return dialled.status();
  Client& client = *dialled;
  v1::StopRunRequest request;
  request.set_name(options.name);
  const absl::StatusOr<v1::Run> run =
      Call(client.runs(), &v1::Runs::Stub::StopRun, request, kFaultTimeout);
  if (run.ok()) Show(globals, *run, options.json);
  return run.status();
}

absl::Status List(const Globals& globals, const RunOptions& options) {
  absl::StatusOr<Client> dialled = Client::Dial(globals.address(), globals.tls);
  if (!dialled.ok()) return dialled.status();
  Client& client = *dialled;
  const absl::StatusOr<v1::ListRunsResponse> response =
      Call(client.runs(), &v1::Runs::Stub::ListRuns, v1::ListRunsRequest());
  if (!response.ok()) return response.status();
  Terminal& terminal = *globals.terminal;
  if (options.json) {
    Json runs = Json::array();
    for (const v1::Run& run : response->runs()) runs.push_back(ToJson(run));
    terminal.out() << Pretty({{"runs", runs}});
    return absl::OkStatus();
  }
  Table table({"RUN", "BEGAN (UTC)", "LASTED", "NOTE"});
  const std::int64_t now = Clock::System().Now().realtime_ns;
  for (const v1::Run& run : response->runs()) {
    const bool open = run.end_realtime_ns() == 0;
    const std::int64_t lasted = (open ? now : run.end_realtime_ns()) - run.begin_realtime_ns();
    table.Add({run.name(), TimeText(run.begin_realtime_ns()),
               absl::StrCat(DurationText(lasted), open ? " so far" : ""), run.note()});
  }
  if (table.empty()) {
    terminal.Say("no run yet; `faultline run start NAME` opens one");
    return absl::OkStatus();
  }
  terminal.out() << table.Render(terminal);
  return absl::OkStatus();
}

}  // namespace

void AddRun(CLI::App& app, Action* action) {
  auto options = std::make_shared<RunOptions>();
  CLI::App* command = app.add_subcommand("run", "named spans of time, which `export` takes");
  command->require_subcommand(1);
  const auto add = [&](const char* name, const char* text, bool named,
                       absl::Status (*run)(const Globals&, const RunOptions&)) {
    CLI::App* sub = command->add_subcommand(name, text);
    if (named) sub->add_option("NAME", options->name, "name of the run")->required();
    sub->add_flag("--json", options->json, "print JSON");
    sub->callback([options, action, run] {
      *action = [options, run](const Globals& globals) {
        const absl::Status collector = NeedsCollector(globals, "runs");
        return Report(globals, collector.ok() ? run(globals, *options) : collector);
      };
    });
    return sub;
  };
  CLI::App* start = add("start", "open a run now", true, Start);
  start->add_option("--note", options->note, "free text that goes with it");
  start
      ->add_option(
          "--target", options->targets,
          "[NODE/]TARGET that faults are meant for, like unit:nginx.service or "
          "edge-1/cgroup:/web: the controllers that they need are on for it before the run "
          "begins, and stay so until it ends; may be given again")
      ->allow_extra_args(false);
  start->add_option("--node", options->node, "node of the targets that name none");
  start->add_option("--for", options->hold_for,
                    "how long they are held at most, should nobody stop the run; 24h unless "
                    "given, at most 168h");
  add("stop", "close it now", true, Stop);
  add("list", "every run of the collector", false, List);
}

}  // namespace faultline::cli
