// SPDX-License-Identifier: Apache-2.0
//
// `faultline demo`: the main job for real, on this host, in two minutes: a server under load is
// disturbed five times while it is measured, and the labelled dataset is checked against the
// kernel's own counters.
#include <unistd.h>

#include <filesystem>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/status.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/demo/check.h"
#include "cli/demo/load.h"
#include "cli/demo/report.h"
#include "cli/demo/stage.h"
#include "cli/demo/witness.h"
#include "cli/export.h"
#include "cli/parse.h"
#include "cli/words.h"

namespace faultline::cli {
namespace {

struct DemoOptions {
  std::string out;
  std::string bin_dir;
  bool keep_state = false;
  bool quick = false;
};

// Seconds of each part; the whole stays under two minutes.
struct Phases {
  int baseline = 14;
  int fault = 10;
  int quiet = 8;
};
constexpr Phases kFull;
constexpr Phases kQuick{8, 6, 6};

constexpr const char* kRunName = "demo";
constexpr const char* kNode = "demo";
// A bit less than half of what the load needs.
constexpr std::int64_t kRateBits = 30'000'000;

// The doses hurt this load and leave the server alive.
std::vector<v1::FaultSpec> Script(const Stage& stage, int seconds) {
  using Parameters = std::vector<std::pair<std::string, std::string>>;
  const std::vector<std::pair<const char*, Parameters>> faults{
      {"cpu.limit", {{"cpus", "0.1"}}},
      {"net.loss", {{"loss", "5%"}, {"direction", "out"}, {"device", stage.network().device()}}},
      {"net.rate", {{"rate", "30Mbit"}, {"device", stage.network().device()}}},
      {"mem.leak", {{"bytes", "96MiB"}, {"rate", "16MiB/s"}}},
      {"sham", {{"mechanism", "link"}}},
  };
  std::vector<v1::FaultSpec> specs;
  for (const auto& [type, parameters] : faults) {
    v1::FaultSpec spec;
    spec.set_type(type);
    spec.mutable_target()->set_cgroup(stage.server_cgroup());
    for (const auto& [name, value] : parameters) (*spec.mutable_parameters())[name] = value;
    spec.set_seed(specs.size() + 1);
    spec.set_duration_ns(seconds * kNsPerSecond);
    specs.push_back(std::move(spec));
  }
  return specs;
}

class Demo {
 public:
  Demo(Terminal* terminal, Stage* stage, const DemoOptions& options)
      : terminal_(*terminal),
        stage_(*stage),
        options_(options),
        phases_(options.quick ? kQuick : kFull) {}

  // Sets the scene, plays the script, writes the dataset.
  absl::Status Play();
  // Report and checks; false: something disagrees.
  absl::StatusOr<bool> Judge();

 private:
  absl::Status SetUp();
  absl::Status AwaitNode();
  absl::Status Run();
  absl::Status RunFault(const v1::FaultSpec& spec);
  absl::StatusOr<v1::FaultState> Look(const std::string& id);
  // Lets `seconds` pass with an eye on the kernel's counters.
  absl::Status Pass(const std::string& what, double seconds);
  absl::Status Watch(const std::string& what);
  absl::Status Export();
  void Step(absl::string_view line) { terminal_.Say(absl::StrCat("- ", line)); }

  Terminal& terminal_;
  Stage& stage_;
  const DemoOptions& options_;
  const Phases phases_;
  std::unique_ptr<Client> client_;
  std::optional<Witness> witness_;
  std::int64_t begin_realtime_ns_ = 0;
  std::int64_t end_realtime_ns_ = 0;
  v1::ExportSummary summary_;
};

absl::Status Demo::Play() {
  absl::Status status = SetUp();
  if (status.ok()) status = Run();
  if (status.ok()) status = Export();
  return status;
}

absl::Status Demo::SetUp() {
  Step(absl::StrCat("server nginx in control group ", stage_.server_cgroup(), " on ",
                    stage_.network().server_address(), ", device ", stage_.network().device()));
  absl::Status status = stage_.StartServer();
  if (!status.ok()) return status;
  Step(absl::StrCat("client h2load in a network namespace of its own: ",
                    kConnections * kRequestsPerConnection, " requests a second"));
  status = stage_.StartClient();
  if (status.ok()) status = stage_.StartCollector();
  if (!status.ok()) return status;
  Step("collector on " + stage_.collector_address());
  status = stage_.StartInjector();
  if (!status.ok()) return status;
  Step("injector on Unix sockets in " + stage_.folder() + "/run");
  status = stage_.StartAgent();
  if (!status.ok()) return status;
  client_ = std::make_unique<Client>(stage_.collector_address());
  status = AwaitNode();
  if (!status.ok()) return status;
  absl::StatusOr<Witness> witness = Witness::Create(stage_.tree(), stage_.server_cgroup(),
                                                    stage_.network().device(), kServerPort);
  if (!witness.ok()) return witness.status();
  witness_ = *std::move(witness);
  return absl::OkStatus();
}

absl::Status Demo::AwaitNode() {
  const absl::Time deadline = absl::Now() + absl::Seconds(20);
  std::string why = "it has not reported";
  while (absl::Now() < deadline) {
    const absl::StatusOr<v1::ListNodesResponse> nodes =
        Call(client_->nodes(), &v1::Nodes::Stub::ListNodes, v1::ListNodesRequest());
    if (nodes.ok() && nodes->nodes_size() == 1 && nodes->nodes(0).last_frame_realtime_ns() != 0) {
      int columns = 0;
      for (const v1::TableSchema& table : nodes->nodes(0).schema().tables()) {
        columns += table.columns_size();
      }
      Step(absl::StrCat("agent as a user of its own, ", columns, " metrics, one frame a second"));
      return absl::OkStatus();
    }
    if (!nodes.ok()) why = std::string(nodes.status().message());
    const absl::Status status = stage_.Pause(100);
    if (!status.ok()) return status;
  }
  return absl::DeadlineExceededError("no frame of the agent within 20 s: " + why);
}

absl::Status Demo::Watch(const std::string& what) {
  terminal_.Progress(what);
  const absl::Status looked = witness_->Look();
  return looked.ok() ? stage_.Pause(100) : looked;
}

absl::Status Demo::Pass(const std::string& what, double seconds) {
  const absl::Time end = absl::Now() + absl::Seconds(seconds);
  absl::Status status;
  while (status.ok() && absl::Now() < end) {
    status =
        Watch(absl::StrFormat("%s, %.0f s left", what, absl::ToDoubleSeconds(end - absl::Now())));
  }
  terminal_.EndProgress();
  return status;
}

absl::StatusOr<v1::FaultState> Demo::Look(const std::string& id) {
  v1::ListRequest request;
  request.set_node(kNode);
  const absl::StatusOr<v1::ListResponse> list =
      Call(client_->faults(), &v1::Faults::Stub::List, request);
  if (!list.ok()) return list.status();
  for (const v1::FaultState& fault : list->faults()) {
    if (fault.spec().id() == id) return fault;
  }
  return absl::NotFoundError(absl::StrCat("fault ", id, " is no longer known"));
}

absl::Status Demo::RunFault(const v1::FaultSpec& spec) {
  v1::StartRequest request;
  request.set_node(kNode);
  *request.mutable_spec() = spec;
  absl::Status status = witness_->Look();
  if (!status.ok()) return status;
  absl::StatusOr<v1::FaultState> fault =
      Call(client_->faults(), &v1::Faults::Stub::Start, request, kFaultTimeout);
  if (!fault.ok()) return WithContext(fault.status(), spec.type());
  const std::string id = fault->spec().id();
  const absl::Time limit = absl::Now() + absl::Nanoseconds(spec.duration_ns()) + absl::Seconds(10);
  while (status.ok() && fault.ok() && !IsFinal(fault->phase())) {
    const std::string dose = fault->dose().empty() ? "" : ", " + DoseText(fault->dose(0));
    status = Watch(absl::StrCat(spec.type(), " ", PhaseWord(fault->phase()), dose));
    fault = Look(id);
    if (absl::Now() > limit) {
      return absl::DeadlineExceededError(spec.type() + " did not end 10 s after its deadline");
    }
  }
  terminal_.EndProgress();
  if (!status.ok()) return status;
  if (!fault.ok()) return WithContext(fault.status(), spec.type());
  if (fault->phase() != v1::PHASE_UNDONE) {
    return absl::InternalError(
        absl::StrCat(spec.type(), " ", PhaseWord(fault->phase()), ": ", fault->reason()));
  }
  Step(absl::StrCat(spec.type(), " for ", DurationText(spec.duration_ns()), ": ",
                    fault->sham() || fault->dose().empty() ? "no dose" : DoseText(fault->dose(0))));
  return witness_->Look();
}

absl::Status Demo::Run() {
  v1::StartRunRequest start;
  start.set_name(kRunName);
  start.set_note("faultline demo");
  absl::StatusOr<v1::Run> run = Call(client_->runs(), &v1::Runs::Stub::StartRun, start);
  if (!run.ok()) return run.status();
  begin_realtime_ns_ = run->begin_realtime_ns();
  Step(absl::StrCat("run \"", kRunName, "\" opened; ", phases_.baseline, " s of quiet first"));
  absl::Status status = Pass("quiet", phases_.baseline);
  for (const v1::FaultSpec& spec : Script(stage_, phases_.fault)) {
    if (status.ok()) status = RunFault(spec);
    if (status.ok()) status = Pass("quiet", phases_.quiet);
    if (!status.ok()) return status;
  }
  v1::StopRunRequest stop;
  stop.set_name(kRunName);
  run = Call(client_->runs(), &v1::Runs::Stub::StopRun, stop);
  if (!run.ok()) return run.status();
  end_realtime_ns_ = run->end_realtime_ns();
  return absl::OkStatus();
}

absl::Status Demo::Export() {
  // The last frames of the run are still on their way.
  for (int i = 0; i < 100; ++i) {
    const absl::StatusOr<v1::ListNodesResponse> nodes =
        Call(client_->nodes(), &v1::Nodes::Stub::ListNodes, v1::ListNodesRequest());
    if (!nodes.ok()) return nodes.status();
    if (nodes->nodes_size() > 0 && nodes->nodes(0).last_frame_realtime_ns() >= end_realtime_ns_) {
      break;
    }
    const absl::Status status = stage_.Pause(100);
    if (!status.ok()) return status;
  }
  absl::StatusOr<v1::ExportSummary> summary =
      FetchDataset(*client_, kRunName, options_.out, [&](double done, const std::string& path) {
        terminal_.Progress(absl::StrFormat("export %3.0f %%  %s", done * 100, path));
      });
  terminal_.EndProgress();
  if (!summary.ok()) return summary.status();
  summary_ = *std::move(summary);
  Step(absl::StrCat("exported ", summary_.rows(), " rows, ", summary_.samples(), " samples, ",
                    summary_.gaps(), " gaps"));
  return absl::OkStatus();
}

absl::StatusOr<bool> Demo::Judge() {
  const absl::StatusOr<std::vector<FaultRow>> faults = ReadFaults(options_.out);
  if (!faults.ok()) return faults.status();
  std::vector<Finding> findings = CheckKernel(*faults, witness_->samples(), kRateBits);
  for (Finding& finding : CheckLabels(options_.out, *faults)) {
    findings.push_back(std::move(finding));
  }
  const size_t planned = Script(stage_, phases_.fault).size();
  if (faults->size() != planned) {
    findings.push_back(
        {false, absl::StrCat(planned, " faults were injected, faults.csv has ", faults->size())});
  }
  terminal_.out() << "\nTimes in seconds from the opening of the run.\n"
                  << FaultReport(terminal_, summary_, begin_realtime_ns_)
                  << "\nThe dataset against the kernel's own counters:\n"
                  << FindingReport(terminal_, findings) << "\n";
  return std::all_of(findings.begin(), findings.end(),
                     [](const Finding& finding) { return finding.agrees; });
}

std::string DefaultOut() {
  return absl::FormatTime("dataset-%Y%m%d-%H%M%S", absl::Now(), absl::UTCTimeZone());
}

absl::Status Prepare(DemoOptions* options) {
  if (::geteuid() != 0) {
    return absl::PermissionDeniedError(
        "the demo makes control groups, a network namespace and BPF programs, which needs root");
  }
  std::error_code error;
  if (options->out.empty()) options->out = DefaultOut();
  options->out = std::filesystem::absolute(options->out, error).lexically_normal().string();
  // Said now and not after two minutes.
  if (std::filesystem::exists(options->out, error) &&
      (!std::filesystem::is_directory(options->out, error) ||
       !std::filesystem::is_empty(options->out, error))) {
    return absl::FailedPreconditionError(absl::StrCat(
        options->out, " exists and is not an empty folder; choose another with --out"));
  }
  if (options->bin_dir.empty()) {
    options->bin_dir =
        std::filesystem::read_symlink("/proc/self/exe", error).parent_path().string();
  }
  for (const char* program : {"faultline-collector", "faultline-injector", "faultline-agent"}) {
    const std::string path = absl::StrCat(options->bin_dir, "/", program);
    if (::access(path.c_str(), X_OK) != 0) {
      return absl::FailedPreconditionError(
          absl::StrCat(path, " is missing; build it, or say where it is with --bin-dir"));
    }
  }
  return FindLoadPrograms();
}

// The demo on a stage that stands; 0 if everything agrees.
absl::StatusOr<bool> Perform(Terminal* terminal, Stage* stage, const DemoOptions& options) {
  Demo demo(terminal, stage, options);
  const absl::Status played = demo.Play();
  terminal->EndProgress();
  if (!played.ok()) return played;
  return demo.Judge();
}

int RunDemo(const Globals& globals, DemoOptions options) {
  Globals local = globals;
  // What fails here is not the user's collector.
  local.collector.clear();
  local.injector.clear();
  const absl::Status ready = Prepare(&options);
  if (!ready.ok()) return Report(local, ready);
  Terminal& terminal = *globals.terminal;
  Interrupt interrupt;
  absl::StatusOr<std::unique_ptr<Stage>> stage =
      Stage::Create({options.bin_dir, options.keep_state}, &interrupt);
  if (!stage.ok()) return Report(local, stage.status());
  const absl::StatusOr<bool> agrees = Perform(&terminal, stage->get(), options);
  if (options.keep_state) terminal.Say("- state and logs stay in " + (*stage)->folder());
  const absl::Status cleaned = (*stage)->Clean();
  terminal.Say(cleaned.ok() ? "- everything that was started is gone again"
                            : absl::StrCat("- not all is gone: ", cleaned.message()));
  if (absl::IsCancelled(agrees.status())) return 130;
  if (!agrees.ok()) return Report(local, agrees.status());
  terminal.out() << "dataset: " << options.out << "\nopen it: " << OpenHint(options.out) << "\n";
  if (!*agrees) {
    terminal.Error("the dataset and the kernel's counters disagree; see above");
    return kExitFailed;
  }
  return cleaned.ok() ? kExitOk : kExitFailed;
}

}  // namespace

void AddDemo(CLI::App& app, Action* action) {
  auto options = std::make_shared<DemoOptions>();
  CLI::App* command = app.add_subcommand(
      "demo", "inject five faults into a server of its own and make a dataset (root, 2 minutes)");
  command->add_option("--out", options->out, "folder of the dataset, new or empty; ./dataset-TIME");
  command->add_option("--bin-dir", options->bin_dir,
                      "where the other programs are; beside this one");
  command->add_flag("--keep-state", options->keep_state, "leave state and logs of the programs");
  command->add_flag("--quick", options->quick, "shorter phases, for tests");
  command->callback([options, action] {
    *action = [options](const Globals& globals) { return RunDemo(globals, *options); };
  });
}

}  // namespace faultline::cli
