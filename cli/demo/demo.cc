// SPDX-License-Identifier: Apache-2.0
//
// `faultline demo`: the main job for real, on this host, in two minutes: a server under load is
// disturbed five times while it is measured, and the labelled dataset is checked against the
// kernel's own counters.
#include <unistd.h>

#include <filesystem>
#include <ostream>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/command.h"
#include "cli/dataset_writer.h"
#include "cli/demo/load.h"
#include "cli/demo/play.h"
#include "cli/demo/report.h"
#include "cli/demo/stage.h"

namespace faultline::cli {
namespace {

struct DemoOptions {
  std::string out;
  std::string bin_dir;
  bool keep_state = false;
  bool quick = false;
};

constexpr DemoPhases kFull;
constexpr DemoPhases kQuick{8, 6, 6};

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
  // Tried now and not after two minutes; the folder itself appears with the dataset.
  const absl::Status possible = DatasetWriter::Create(options->out).status();
  if (!possible.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("the dataset cannot be written: ", possible.message()));
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
  Demo demo(terminal, stage, options.quick ? kQuick : kFull, options.out);
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
  command->add_option("--out", options->out, "folder of the dataset, new or empty; ./dataset-TIME")
      ->type_name("DIR");
  command
      ->add_option("--bin-dir", options->bin_dir, "where the other programs are; beside this one")
      ->type_name("DIR");
  command->add_flag("--keep-state", options->keep_state, "leave state and logs of the programs");
  command->add_flag("--quick", options->quick, "shorter phases, for tests");
  command->callback([options, action] {
    *action = [options](const Globals& globals) { return RunDemo(globals, *options); };
  });
}

}  // namespace faultline::cli
