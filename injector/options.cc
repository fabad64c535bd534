// SPDX-License-Identifier: Apache-2.0
#include "injector/options.h"

#include <CLI/CLI.hpp>
#include <iostream>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/cgroup_tree.h"
#include "base/config_file.h"
#include "base/log.h"
#include "base/reference.h"
#include "injector/guard.h"

namespace faultline {
namespace {

std::string CheckMaxDuration(const std::string& text) {
  absl::Duration duration;
  if (absl::ParseDuration(text, &duration) && duration >= absl::Nanoseconds(kMinDurationNs) &&
      duration <= absl::Hours(24)) {
    return "";
  }
  return absl::StrCat("\"", text, "\" is no time from 100ms to 24h; give one like 90s, 30m or 2h");
}

constexpr const char* kDescription =
    "Applies faults to this host on command, proves them by read-back, and undoes them.\n"
    "\n"
    "Runs as root and listens on two Unix sockets: RUN_DIR/agent.sock (for the agent and members "
    "of\n"
    "the group) and RUN_DIR/root.sock (root alone; only there a halt is released). What a fault\n"
    "changes is on disk in STATE_DIR/journal.db before it is changed. On SIGTERM or Ctrl-C every\n"
    "fault is undone; after a kill or a crash the next start does it, or --undo.";

constexpr const char* kExamples =
    "Examples:\n"
    "  faultline-injector\n"
    "  faultline-injector --protect-cgroup /system.slice/ssh.service --plane-device eth0\n"
    "  faultline-injector --state-dir /tmp/fl/state --run-dir /tmp/fl/run   # beside another one\n"
    "  faultline-injector --undo\n"
    "\n"
    "Then, e.g.: faultline --injector unix:RUN_DIR/root.sock inject --list\n"
    "\n"
    "Exit status: 0 all is undone, 1 it cannot work or something is left to undo, 2 a wrong "
    "option, or --undo without a journal.";

// A group is protected by its path in the hierarchy, not by the folder it is mounted at.
std::string CheckCgroup(const std::string& path) {
  const absl::Status status = CgroupTree::ValidatePath(path);
  if (!status.ok()) return std::string(status.message());
  if (path.rfind("/sys/fs/cgroup", 0) != 0) return "";
  return absl::StrCat(path, " is a path of the file system; give the control group's own, e.g. ",
                      "/system.slice/ssh.service");
}

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
  app.add_option("--helper", options.helper,
                 "The program faultline-hold, for mem.leak; else beside this program\n"
                 "or in ../libexec/faultline")
      ->type_name("FILE")
      ->group(kGroup);
  for (const char* place : {"--state-dir", "--run-dir", "--bpffs", "--helper"}) {
    app.get_option(place)->configurable(false);
  }
}

void AddLimits(CLI::App& app, InjectorOptions& options, std::string& max_duration) {
  constexpr const char* kGroup = "What may be disturbed, and who may ask";
  app.add_flag("--enabled", options.enabled,
               "Take faults. Said with --config only: with a file this program refuses\n"
               "every fault until the file says so; without one it was started by hand\n"
               "and takes them")
      ->group(kGroup);
  app.add_option("--protect-cgroup", options.protected_cgroups,
                 "Control group that no fault may touch, nor one that holds it or lies\n"
                 "in it, as its path below the hierarchy's root, e.g.\n"
                 "/system.slice/ssh.service; repeatable. The groups of PID 1, of\n"
                 "this program and of its services that undo always are protected")
      ->type_name("PATH")
      ->check(CLI::Validator(CheckCgroup, ""))
      ->group(kGroup);
  app.add_option("--plane-device", options.plane_devices,
                 "Network device that gets a standing plane, without which it takes no\n"
                 "net.rate (and, before Linux 6.6, no outbound net.loss); repeatable.\n"
                 "A device that comes later, or again, gets it then. It stays until\n"
                 "--remove-planes; making it may lose packets for a moment")
      ->type_name("NAME")
      ->group(kGroup);
  // The service may give the socket to no group but its own.
  app.add_option("--group", options.group, "Group whose members may use agent.sock")
      ->configurable(false)
      ->type_name("NAME")
      ->capture_default_str()
      ->group(kGroup);
  app.add_option("--max-faults", options.max_faults, "Most faults at the same time")
      ->type_name("N")
      ->capture_default_str()
      ->check(CLI::Range(1, 64).description(""))
      ->group(kGroup);
  app.add_option("--max-duration", max_duration,
                 "Longest duration of a fault, e.g. 90s, 30m, 2h; from 100ms to 24h")
      ->type_name("TIME")
      ->capture_default_str()
      ->check(CLI::Validator(CheckMaxDuration, ""))
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
      app.add_flag("--keep", options.keep,
                   "Watch the deadlines as long as a fault is open, from beside the\n"
                   "injector: one that let a deadline pass is ended, and what a dead one\n"
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
  std::string max_duration = "1h";
  CLI::App app{kDescription, "faultline-injector"};
  app.footer(kExamples);
  app.get_formatter()->column_width(28);
  app.set_version_flag("--version", FAULTLINE_VERSION);
  AddPlaces(app, options);
  AddLimits(app, options, max_duration);
  AddTasks(app, options);
  AddConfigFile(&app, [&options](const std::vector<std::string>& errors) {
    return BearToUndo(options, errors);
  });
  AddReference(&app, 8);
  try {
    app.parse(argc, argv);
    absl::Duration duration;
    if (absl::ParseDuration(max_duration, &duration)) {
      options.max_duration_ns = absl::ToInt64Nanoseconds(duration);
    }
    if (!HasConfigFile(app)) options.enabled = true;
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
