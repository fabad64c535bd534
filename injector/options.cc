// SPDX-License-Identifier: Apache-2.0
#include "injector/options.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/config_file.h"
#include "base/log.h"
#include "base/reference.h"
#include "injector/limit_options.h"

namespace faultline {
namespace {

constexpr const char* kDescription =
    "Applies faults to this host on command, proves them by read-back, and undoes them.\n"
    "\n"
    "Runs as root and listens on two Unix sockets: RUN_DIR/agent.sock (for the agent and members "
    "of\n"
    "the group) and RUN_DIR/root.sock (root alone; only there a halt is released). What a fault\n"
    "changes is on disk in STATE_DIR/journal.db before it is changed. On SIGTERM or Ctrl-C every\n"
    "fault is undone; after a kill or a crash --keep does it, the next start, or --undo.";

constexpr const char* kExamples =
    "Examples:\n"
    "  faultline-injector\n"
    "  faultline-injector --protect-unit nginx.service --plane-device eth0\n"
    "  faultline-injector --state-dir /tmp/fl/state --run-dir /tmp/fl/run   # beside another one\n"
    "  faultline-injector --undo\n"
    "\n"
    "Then, e.g.: faultline --injector unix:RUN_DIR/root.sock inject --list\n"
    "\n"
    "Exit status: 0 all is undone, 1 it cannot work or something is left to undo, 2 a wrong "
    "option, or --undo without a journal.";

void AddPlaces(CLI::App& app, InjectorOptions& options) {
  // The units that undo, and the removal of the package, look where these are by default.
  constexpr const char* kGroup = "Places, on the command line only";
  app.add_option("--state-dir", options.state_dir,
                 "Journal, halt and lock; one injector at a time. Made if missing")
      ->type_name("DIR")
      ->capture_default_str()
      ->group(kGroup);
  app.add_option("--run-dir", options.run_dir,
                 "agent.sock, root.sock and the helpers' reports; best in memory.\nMade if missing")
      ->type_name("DIR")
      ->capture_default_str()
      ->group(kGroup);
  app.add_option("--bpffs", options.bpffs,
                 "A mounted bpffs, for the counts of network faults: they then outlive\n"
                 "a killed injector, so that the dose stays exact. Without one it\n"
                 "works, and says what is missing")
      ->type_name("DIR")
      ->capture_default_str()
      ->group(kGroup);
  app.add_option("--helpers", options.helpers,
                 "Folder of faultline-hold and faultline-load, which faults run inside\n"
                 "their target; else this program's own or ../libexec/faultline")
      ->type_name("DIR")
      ->group(kGroup);
  for (const char* place : {"--state-dir", "--run-dir", "--bpffs", "--helpers"}) {
    app.get_option(place)->configurable(false);
  }
}

void AddAccess(CLI::App& app, InjectorOptions& options) {
  constexpr const char* kGroup = "What may be disturbed, and who may ask";
  app.add_flag("--enabled", options.enabled,
               "Take faults. Said with --config only: with a file this program refuses\n"
               "every fault until the file says so; without one it was started by hand\n"
               "and takes them")
      ->group(kGroup);
  app.add_option("--plane-device", options.plane_devices,
                 "Network device that gets a standing plane, without which it takes no\n"
                 "net.rate and net.delay (and, before Linux 6.6, no outbound net.loss);\n"
                 "repeatable. A device that comes later, or again, gets it then. It stays until\n"
                 "--remove-planes; making it may lose packets for a moment")
      ->type_name("NAME")
      ->group(kGroup);
  app.add_option(
         "--plane-mq-device", options.plane_mq_devices,
         "The same, also where the device has several queues (mq), as most network\n"
         "cards: as long as the plane stands all that the device sends passes one queue in\n"
         "front of them, which costs many CPUs or a fast device throughput; after\n"
         "--remove-planes mq is as before. Repeatable")
      ->type_name("NAME")
      ->group(kGroup);
  // The service may give the socket to no group but its own.
  app.add_option("--group", options.group, "Group whose members may use agent.sock")
      ->configurable(false)
      ->type_name("NAME")
      ->capture_default_str()
      ->group(kGroup);
}

void AddTasks(CLI::App& app, InjectorOptions& options) {
  constexpr const char* kGroup = "Do one thing and exit";
  CLI::Option* undo = app.add_flag("--undo", options.undo,
                                   "Undo what a dead injector's journal holds, a line for each\n"
                                   "fault; refused while one runs on the same STATE_DIR, or\n"
                                   "where there is no journal. For this, --remove-planes and\n"
                                   "--keep errors of the --config file are warnings")
                          ->group(kGroup);
  CLI::Option* planes =
      app.add_flag("--remove-planes", options.remove_planes,
                   "Take away the standing planes that earlier starts made; needs none running")
          ->group(kGroup);
  CLI::Option* keep =
      app.add_flag(
             "--keep", options.keep,
             "Watch the deadlines as long as a fault is open, from beside the\n"
             "injector: one that let a deadline or its lease pass is ended, and what a dead one\n"
             "left is undone at once")
          ->group(kGroup);
  planes->excludes(undo);
  keep->excludes(undo)->excludes(planes);
  CLI::Option* doc =
      app.add_flag("--faults-doc", options.faults_doc, "Print what each fault does and takes")
          ->group(kGroup);
  for (CLI::Option* task : {undo, keep, planes, doc}) task->configurable(false);
}

// What undoes must not wait for somebody to repair a file.
bool BearToUndo(const InjectorOptions& options, const std::vector<std::string>& errors) {
  if (!options.undo && !options.keep && !options.remove_planes) return false;
  for (const std::string& error : errors) LogWarning(error, "; undoing nevertheless");
  return true;
}

}  // namespace

absl::StatusOr<InjectorOptions> ParseInjectorOptions(int argc, char** argv) {
  InjectorOptions options;
  LimitTexts limits;
  CLI::App app{kDescription, "faultline-injector"};
  app.footer(kExamples);
  app.get_formatter()->column_width(28);
  app.set_version_flag("--version", FAULTLINE_VERSION);
  AddPlaces(app, options);
  AddAccess(app, options);
  AddLimitOptions(app, limits, options);
  AddTasks(app, options);
  AddConfigFile(&app, [&options](const std::vector<std::string>& errors) {
    return BearToUndo(options, errors);
  });
  AddReference(&app, 8);
  try {
    app.parse(argc, argv);
    TakeLimits(limits, options);
    if (options.exempt.size() > kMaxExempt && !HasTask(app)) {
      throw CLI::ValidationError(
          "--exempt", absl::StrCat(options.exempt.size(), " peers; it takes at most ", kMaxExempt));
    }
    if (HasConfigFile(app)) {
      options.config_file = app.get_option("--config")->results()[0];
    } else {
      options.enabled = true;
    }
    options.undo = options.undo || options.keep;
  } catch (const CLI::ParseError& error) {
    // What is wrong with a task is no matter of the service: it is printed here, as help is.
    if (error.get_exit_code() == 0 || HasTask(app)) {
      return app.exit(error) == 0 ? absl::CancelledError() : absl::InvalidArgumentError("");
    }
    return absl::InvalidArgumentError(absl::StrCat(error.what(), "; --help says what it takes"));
  }
  return options;
}

}  // namespace faultline
