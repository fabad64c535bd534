// SPDX-License-Identifier: Apache-2.0
//
// The command line of faultline-injector. Flags are parsed here and nowhere else.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/clock.h"

namespace faultline {

struct InjectorOptions {
  // Journal, halt and lock. One injector at a time.
  std::string state_dir = "/var/lib/faultline/injector";
  // The sockets.
  std::string run_dir = "/run/faultline";
  // Devices that get a standing plane, at the start or when they come, for faults of the network's
  // rate.
  std::vector<std::string> plane_devices;
  // Groups that no fault may touch.
  std::vector<std::string> protected_cgroups;
  // Undo what the journal holds, print a line for each, and exit. Set by `keep` as well.
  bool undo = false;
  // Wait until something has to be undone while no injector does it, undo it, and exit.
  bool keep = false;
  // Take away the standing planes that an earlier start made, and exit.
  bool remove_planes = false;
  // Print docs/faults.md and exit.
  bool faults_doc = false;
  // Takes faults; false: refuses every one and undoes what there is.
  bool enabled = false;
  // May talk on agent.sock.
  std::string group = "faultline";
  int max_faults = 4;
  std::int64_t max_duration_ns = 3600 * kNsPerSecond;
  // Where what BPF programs count outlives this process; no bpffs: it does not.
  std::string bpffs = "/sys/fs/bpf";
  // faultline-hold; empty: beside this program, or in ../libexec/faultline.
  std::string helper;
};

// Cancelled: help or the like was asked for and has been printed. InvalidArgument: what is wrong;
// empty if it has been printed, as it is for a task like --undo, which is no start of the service.
absl::StatusOr<InjectorOptions> ParseInjectorOptions(int argc, char** argv);

}  // namespace faultline
