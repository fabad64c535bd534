// SPDX-License-Identifier: Apache-2.0
#include "injector/options.h"

#include <CLI/CLI.hpp>

#include "absl/time/time.h"

namespace faultline {

std::optional<InjectorOptions> ParseInjectorOptions(int argc, char** argv, int* exit_code) {
  InjectorOptions options;
  std::string max_duration = "1h";
  CLI::App app{"Applies faults to this host on command, proves them, and undoes them."};
  app.set_version_flag("--version", FAULTLINE_VERSION);
  app.add_option("--state-dir", options.state_dir, "Journal, halt and lock")->capture_default_str();
  app.add_option("--run-dir", options.run_dir, "Where agent.sock and root.sock are made")
      ->capture_default_str();
  app.add_option("--plane-device", options.plane_devices,
                 "Device that gets a standing plane for faults of the rate (repeatable)");
  app.add_option("--protect-cgroup", options.protected_cgroups,
                 "Control group that no fault may touch (repeatable)");
  app.add_flag("--undo", options.undo, "Undo what the journal holds, then exit");
  app.add_flag("--remove-planes", options.remove_planes,
               "Take away the standing planes of earlier starts, then exit");
  app.add_flag("--faults-doc", options.faults_doc, "Print the documentation of the faults");
  app.add_option("--group", options.group, "Group that may use agent.sock")->capture_default_str();
  app.add_option("--max-faults", options.max_faults, "Most faults at the same time")
      ->capture_default_str()
      ->check(CLI::Range(1, 64));
  app.add_option("--max-duration", max_duration, "Longest duration of a fault, e.g. 30m")
      ->capture_default_str();
  app.add_option("--helper", options.helper, "Path of faultline-hold");
  try {
    app.parse(argc, argv);
    absl::Duration duration;
    if (!absl::ParseDuration(max_duration, &duration) || duration <= absl::ZeroDuration() ||
        duration > absl::Hours(24)) {
      throw CLI::ValidationError("--max-duration", "must be a time like 30m, at most 24h");
    }
    options.max_duration_ns = absl::ToInt64Nanoseconds(duration);
  } catch (const CLI::ParseError& error) {
    *exit_code = app.exit(error);
    return std::nullopt;
  }
  return options;
}

}  // namespace faultline
