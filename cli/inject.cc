// SPDX-License-Identifier: Apache-2.0
//
// `faultline inject`: asks for one fault, and with --wait stays until it has ended. What a type
// takes is asked from the node, whose row is the only place that knows.
#include <algorithm>
#include <ostream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/exit_code.h"
#include "cli/fault_view.h"
#include "cli/interrupt.h"
#include "cli/json.h"
#include "cli/parse.h"
#include "cli/timing.h"
#include "cli/words.h"
#include "proto/peer_text.h"

namespace faultline::cli {
namespace {

struct InjectOptions {
  std::string type;
  std::string target;
  std::string duration;
  std::string shape;
  std::string start;
  std::vector<std::string> parameters;
  std::vector<std::string> peers;
  std::string node;
  std::uint64_t seed = 0;
  bool wait = false;
  bool dry_run = false;
  bool list = false;
  bool help_type = false;
  bool json = false;
};

// CLI11 2.1 reads -1 as 2^64 - 1.
std::string WholeNumber(const std::string& text) {
  std::uint64_t number = 0;
  if (absl::SimpleAtoi(text, &number)) return "";
  return absl::StrCat("\"", text, "\" is not a whole number from 0 to 18446744073709551615");
}

// When, and how it goes over time.
absl::Status AddTiming(const InjectOptions& options, v1::FaultSpec* spec) {
  const absl::StatusOr<std::int64_t> duration = ParseDuration(options.duration);
  if (!duration.ok()) return duration.status();
  spec->set_duration_ns(*duration);
  if (!options.shape.empty()) {
    absl::StatusOr<v1::Shape> shape = ParseShape(options.shape);
    if (!shape.ok()) return shape.status();
    *spec->mutable_shape() = *std::move(shape);
  }
  return options.start.empty() ? absl::OkStatus() : ParseStart(options.start, spec);
}

absl::StatusOr<v1::FaultSpec> MakeSpec(const InjectOptions& options) {
  v1::FaultSpec spec;
  spec.set_type(options.type);
  spec.set_seed(options.seed);
  if (options.target.empty() || options.duration.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("inject ", options.type,
                     " needs --target and --for; no fault is without an end. See `faultline "
                     "inject ",
                     options.type, " --help-type`"));
  }
  absl::StatusOr<v1::Target> target = ParseTarget(options.target);
  if (!target.ok()) return target.status();
  *spec.mutable_target() = *std::move(target);
  if (absl::Status timed = AddTiming(options, &spec); !timed.ok()) return timed;
  for (const std::string& text : options.parameters) {
    absl::StatusOr<std::pair<std::string, std::string>> parameter = ParseParameter(text);
    if (!parameter.ok()) return parameter.status();
    if (!spec.mutable_parameters()->insert({parameter->first, parameter->second}).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("parameter \"", parameter->first, "\" is given twice"));
    }
  }
  for (const std::string& text : options.peers) {
    absl::StatusOr<v1::PeerFilter> peer = ParsePeer(text);
    if (!peer.ok()) return peer.status();
    *spec.add_peers() = *std::move(peer);
  }
  return spec;
}

absl::Status ShowTypes(const Globals& globals, const InjectOptions& options) {
  absl::StatusOr<Client> dialled = Client::Dial(globals.address(), globals.tls);
  if (!dialled.ok()) return dialled.status();
  Client& client = *dialled;
  v1::CapabilitiesRequest request;
  request.set_node(options.node);
  const absl::StatusOr<v1::Capabilities> capabilities =
      Call(client.faults(), &v1::Faults::Stub::GetCapabilities, request);
  if (!capabilities.ok()) return capabilities.status();
  Terminal& terminal = *globals.terminal;
  if (options.list && options.json) {
    terminal.out() << Pretty(ToJson(*capabilities));
    return absl::OkStatus();
  }
  if (options.list) {
    const std::string limits = LimitsText(capabilities->limits());
    terminal.out() << TypesTable(*capabilities).Render(terminal) << (limits.empty() ? "" : "\n")
                   << limits;
    return absl::OkStatus();
  }
  for (const v1::FaultInfo& info : capabilities->faults()) {
    if (info.type() != options.type) continue;
    terminal.out() << (options.json ? Pretty(ToJson(info)) : TypeHelp(terminal, info));
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("this node has no fault \"", options.type,
                                                 "\"; `faultline inject --list` shows them all"));
}

absl::Status DryRun(const Globals& globals, Client& client, const InjectOptions& options,
                    const v1::FaultSpec& spec) {
  v1::ValidateRequest request;
  request.set_node(options.node);
  *request.mutable_spec() = spec;
  const absl::StatusOr<v1::Plan> plan =
      Call(client.faults(), &v1::Faults::Stub::Validate, request, kFaultTimeout);
  if (!plan.ok()) return plan.status();
  globals.terminal->out() << (options.json ? Pretty(ToJson(*plan)) : PlanText(*plan));
  if (!options.json) globals.terminal->Say("nothing was changed");
  return absl::OkStatus();
}

absl::StatusOr<v1::FaultState> Look(Client& client, const v1::FaultState& known) {
  v1::ListRequest request;
  request.set_node(known.node());
  const absl::StatusOr<v1::ListResponse> list =
      Call(client.faults(), &v1::Faults::Stub::List, request);
  if (!list.ok()) return list.status();
  for (const v1::FaultState& fault : list->faults()) {
    if (fault.spec().id() == known.spec().id()) return fault;
  }
  return absl::NotFoundError(
      absl::StrCat("fault ", known.spec().id(), " is no longer known to ", client.address()));
}

absl::StatusOr<v1::FaultState> StopNow(const Globals& globals, Client& client,
                                       const v1::FaultState& fault) {
  globals.terminal->Say("interrupted: ending the fault");
  v1::StopRequest request;
  request.set_node(fault.node());
  request.set_fault_id(fault.spec().id());
  return Call(client.faults(), &v1::Faults::Stub::Stop, request, kFaultTimeout);
}

std::string ProgressText(const v1::FaultState& fault) {
  const std::int64_t now_ns = Clock::System().Now().realtime_ns;
  if (IsToCome(fault)) {
    const std::int64_t ahead = std::max<std::int64_t>(0, StartRealtime(fault) - now_ns);
    return absl::StrCat(fault.spec().type(), " ", PhaseWord(fault.phase()), "  begins in ",
                        DurationText(ahead / kNsPerSecond * kNsPerSecond));
  }
  if (fault.edges().acked().realtime_ns() == 0) {
    return absl::StrCat(fault.spec().type(), " ", PhaseWord(fault.phase()), "  not in force yet");
  }
  const std::int64_t passed = now_ns - fault.edges().acked().realtime_ns();
  std::string text = absl::StrCat(fault.spec().type(), " ", PhaseWord(fault.phase()), "  ",
                                  DurationText(passed / kNsPerSecond * kNsPerSecond), " of ",
                                  DurationText(fault.spec().duration_ns()));
  if (!fault.dose().empty()) absl::StrAppend(&text, "  ", DoseText(fault.dose(0)));
  return text;
}

// Nobody can be asked any more: what is known of the end of the fault.
absl::Status LostSight(const Globals& globals, const v1::FaultState& fault,
                       const absl::Status& status) {
  const absl::Status plain = Plain(status, globals.address());
  if (!absl::IsUnavailable(plain)) return plain;
  const v1::Edge& commanded = fault.edges().commanded();
  const std::int64_t deadline_ns =
      commanded.realtime_ns() + fault.deadline_boottime_ns() - commanded.boottime_ns();
  return absl::UnavailableError(absl::StrCat(
      plain.message(), "; fault ", fault.spec().id(), " runs on until its deadline, ",
      ClockText(deadline_ns), " UTC, as long as its node's injector lives",
      fault.leased() ? ", or ends within 15 s where that has lost the collector too; " : "; ",
      kLeftByTheDead));
}

// Follows the fault to its end; ends it when the person interrupts.
absl::StatusOr<v1::FaultState> WaitForEnd(const Globals& globals, Client& client,
                                          Interrupt* interrupt, v1::FaultState fault) {
  constexpr int kLookEveryMs = 250;
  // A collector or an injector that restarts is not the end of a fault; one that stays away is.
  constexpr int kLooksLost = 40;  // 10 s
  int lost = 0;
  while (!IsFinal(fault.phase())) {
    globals.terminal->Progress(ProgressText(fault));
    if (interrupt->Within(kLookEveryMs)) return StopNow(globals, client, fault);
    absl::StatusOr<v1::FaultState> now = Look(client, fault);
    if (now.ok() && now->unknown_since_realtime_ns() != 0) {
      now = absl::UnavailableError(
          absl::StrCat("the fault is ", UnknownText(*now),
                       ": its node's injector does not answer; whether it still stands cannot be "
                       "told from here"));
    }
    if (now.ok()) {
      fault = *std::move(now);
      lost = 0;
    } else if (now.status().code() != absl::StatusCode::kUnavailable || ++lost > kLooksLost) {
      return LostSight(globals, fault, now.status());
    }
  }
  globals.terminal->EndProgress();
  return fault;
}

void PrintState(const Globals& globals, const InjectOptions& options, const v1::FaultState& fault) {
  Terminal& terminal = *globals.terminal;
  if (options.json) {
    terminal.out() << Pretty(ToJson(fault));
    return;
  }
  terminal.out() << fault.spec().id() << "  " << PhaseWord(fault.phase());
  if (IsToCome(fault)) {
    terminal.out() << ", begins at " << ClockText(StartRealtime(fault)) << " UTC";
  }
  terminal.out() << "\n" << EdgesText(fault);
  for (const v1::Dose& dose : fault.dose()) terminal.out() << DoseText(dose) << "\n";
  for (const std::string& residue : fault.residue()) terminal.Error("left behind: " + residue);
}

absl::Status Inject(const Globals& globals, const InjectOptions& options) {
  if (options.list || options.help_type) return ShowTypes(globals, options);
  const absl::StatusOr<v1::FaultSpec> spec = MakeSpec(options);
  if (!spec.ok()) return spec.status();
  // Before gRPC makes threads; without --wait a signal simply ends us and the fault runs on.
  std::unique_ptr<Interrupt> interrupt;
  if (options.wait) interrupt = std::make_unique<Interrupt>();
  absl::StatusOr<Client> dialled = Client::Dial(globals.address(), globals.tls);
  if (!dialled.ok()) return dialled.status();
  Client& client = *dialled;
  if (options.dry_run) return DryRun(globals, client, options, *spec);

  v1::StartRequest request;
  request.set_node(options.node);
  *request.mutable_spec() = *spec;
  absl::StatusOr<v1::FaultState> fault =
      Call(client.faults(), &v1::Faults::Stub::Start, request, kFaultTimeout);
  if (!fault.ok()) return fault.status();
  if (options.wait) {
    globals.terminal->Say(absl::StrCat(
        "fault ", fault->spec().id(), " ",
        IsToCome(*fault) ? absl::StrCat("begins at ", ClockText(StartRealtime(*fault)), " UTC")
                         : "started",
        "; Ctrl-C ends it"));
    fault = WaitForEnd(globals, client, interrupt.get(), *fault);
    if (!fault.ok()) return fault.status();
  }
  PrintState(globals, options, *fault);
  absl::Status outcome = Outcome(*fault, interrupt != nullptr && interrupt->Within(0));
  if (outcome.ok() && !options.json && !fault->reason().empty()) {
    globals.terminal->Say("note: " + fault->reason());
  }
  return outcome;
}

}  // namespace

void AddInject(CLI::App& app, Action* action) {
  auto options = std::make_shared<InjectOptions>();
  CLI::App* command = app.add_subcommand("inject", "start a fault; it always has an end");
  command->add_option("TYPE", options->type, "cpu.limit, net.loss, ...; see --list");
  command->add_option("NAME=VALUE", options->parameters, "parameters of the type");
  command->add_option("--target", options->target, "cgroup:/PATH, unit:NAME or pid:NUMBER");
  command->add_option("--for", options->duration, "how long, like 30s");
  command->add_option("--shape", options->shape,
                      "constant (as without it), ramp:30s from none to all of it, or pulse:5s/10s: "
                      "5 s on, 10 s off, again and again; a type says which it takes");
  command->add_option("--start", options->start,
                      "when it begins, if not at once: +10s from now on, or an instant like "
                      "2026-01-02T03:04:05Z, the same for every node that is told it");
  command
      ->add_option("--peer", options->peers,
                   "only these packets: CIDR[:PORT[-PORT]][/tcp]; may be given again")
      ->allow_extra_args(false);
  command->add_option("--seed", options->seed, "of everything random in it; 0 draws one")
      ->check(WholeNumber)
      ->capture_default_str();
  command->add_option("--node", options->node, "node; may be left out while there is only one");
  command->add_flag("--wait", options->wait, "stay until it has ended; Ctrl-C ends it");
  command->add_flag("--dry-run", options->dry_run, "show what would change, change nothing");
  command->add_flag("--list", options->list, "list the types, and what the node's owner allows");
  command->add_flag("--help-type", options->help_type, "explain TYPE and its parameters");
  command->add_flag("--json", options->json, "print JSON");
  command->callback([options, action] {
    if (options->type.empty() && !options->list) throw CLI::RequiredError("TYPE");
    *action = [options](const Globals& globals) {
      return Report(globals, Inject(globals, *options));
    };
  });
}

}  // namespace faultline::cli
