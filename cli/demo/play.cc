// SPDX-License-Identifier: Apache-2.0
#include "cli/demo/play.h"

#include <algorithm>
#include <ostream>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/status.h"
#include "cli/demo/check.h"
#include "cli/demo/load.h"
#include "cli/demo/report.h"
#include "cli/export.h"
#include "cli/words.h"

namespace faultline::cli {
namespace {

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

}  // namespace

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
  absl::StatusOr<Client> dialled = Client::Dial(stage_.collector_address(), TlsOptions());
  if (!dialled.ok()) return dialled.status();
  client_ = std::make_unique<Client>(*std::move(dialled));
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
  return absl::InternalError("no frame of the agent within 20 s: " + why);
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
      return absl::InternalError(spec.type() + " did not end 10 s after its deadline");
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
      FetchDataset(*client_, kRunName, out_, [&](double done, const std::string& path) {
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
  const absl::StatusOr<std::vector<FaultRow>> faults = ReadFaults(out_);
  if (!faults.ok()) return faults.status();
  std::vector<Finding> findings = CheckKernel(*faults, witness_->samples(), kRateBits);
  for (Finding& finding : CheckLabels(out_, *faults)) {
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

}  // namespace faultline::cli
