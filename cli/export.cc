// SPDX-License-Identifier: Apache-2.0
//
// `faultline export`: the dataset of a run as files.
#include "cli/export.h"

#include <algorithm>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/command.h"
#include "cli/dataset_writer.h"
#include "cli/fault_view.h"
#include "cli/json.h"
#include "cli/parse.h"
#include "cli/words.h"

namespace faultline::cli {
namespace {

struct ExportOptions {
  std::string run;
  std::string out;
  bool json = false;
};

std::string MovedText(const v1::FaultSummary& fault) {
  if (fault.moved().empty()) return "-";
  const v1::Movement& best = fault.moved(0);
  return absl::StrFormat("%s %.4g -> %.4g", best.metric(), best.quiet_median(),
                         best.fault_median());
}

void Print(Terminal& terminal, const v1::ExportSummary& summary) {
  Table table({"FAULT", "TYPE", "TARGET", "STARTED (UTC)", "DOSE", "VERDICT", "MOVED MOST"});
  for (const v1::FaultSummary& fault : summary.faults()) {
    const v1::FaultState& state = fault.fault();
    const absl::string_view verdict = VerdictWord(state.verdict());
    table.Add({state.spec().id(), state.spec().type(), TargetText(state.spec().target()),
               ClockText(state.edges().acked().realtime_ns()),
               state.dose().empty() ? "-" : DoseText(state.dose(0)),
               verdict.empty() ? "-" : std::string(verdict), MovedText(fault)});
  }
  if (!table.empty()) terminal.out() << table.Render(terminal);
  terminal.out() << summary.rows() << " rows, " << summary.samples() << " samples, "
                 << summary.rows_labelled() << " rows labelled, " << summary.gaps() << " gaps\n";
}

absl::Status Export(const Globals& globals, const ExportOptions& options) {
  absl::StatusOr<Client> dialled = Client::Dial(globals.address(), globals.tls);
  if (!dialled.ok()) return dialled.status();
  Client& client = *dialled;
  Terminal& terminal = *globals.terminal;
  const absl::StatusOr<v1::ExportSummary> summary =
      FetchDataset(client, options.run, options.out, [&](double done, const std::string& path) {
        terminal.Progress(absl::StrFormat("%3.0f %%  %s", done * 100, path));
      });
  terminal.EndProgress();
  if (!summary.ok()) return summary.status();
  if (options.json) {
    terminal.out() << Pretty(ToJson(*summary));
  } else {
    Print(terminal, *summary);
  }
  terminal.Say("dataset in " + options.out);
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<v1::ExportSummary> FetchDataset(Client& client, const std::string& run,
                                               const std::string& dir,
                                               const ExportProgress& progress) {
  absl::StatusOr<std::unique_ptr<DatasetWriter>> writer = DatasetWriter::Create(dir);
  if (!writer.ok()) return writer.status();
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kExportTimeout);
  v1::ExportRequest request;
  request.set_run(run);
  const std::unique_ptr<grpc::ClientReader<v1::ExportChunk>> reader =
      client.datasets().Export(&context, request);
  v1::ExportChunk chunk;
  v1::ExportSummary summary;
  bool complete = false;
  absl::Status written;
  while (written.ok() && reader->Read(&chunk)) {
    written = (*writer)->Write(chunk);
    progress(std::clamp(chunk.progress(), 0.0, 1.0), chunk.path());
    if (chunk.has_summary()) {
      summary = chunk.summary();
      complete = true;
    }
  }
  if (!written.ok()) context.TryCancel();
  const absl::Status status = FromServer(reader->Finish());
  if (!written.ok()) return written;
  if (!status.ok()) return status;
  // Without it the collector did not come to the end.
  if (!complete) return absl::DataLossError("the collector ended the export before its summary");
  const absl::Status finished = (*writer)->Finish();
  if (!finished.ok()) return finished;
  return summary;
}

void AddExport(CLI::App& app, Action* action) {
  auto options = std::make_shared<ExportOptions>();
  CLI::App* command = app.add_subcommand("export", "write the dataset of a run");
  command->add_option("--run", options->run, "name of the run")->required();
  command->add_option("--out", options->out, "folder, new or empty")->required()->type_name("DIR");
  command->add_flag("--json", options->json, "print the summary as JSON");
  command->callback([options, action] {
    *action = [options](const Globals& globals) {
      const absl::Status collector = NeedsCollector(globals, "runs");
      return Report(globals, collector.ok() ? Export(globals, *options) : collector);
    };
  });
}

}  // namespace faultline::cli
