// SPDX-License-Identifier: Apache-2.0
//
// The command line of faultline-injector. Flags are parsed here and nowhere else.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/clock.h"
#include "faultline/v1/faults.pb.h"
#include "injector/reserve.h"
#include "injector/stop_conditions.h"

namespace faultline {

// Most of InjectorOptions::exempt.
constexpr std::size_t kMaxExempt = 8;

struct InjectorOptions {
  // Journal, halt and lock. One injector at a time.
  std::string state_dir = "/var/lib/faultline/injector";
  // The sockets.
  std::string run_dir = "/run/faultline";
  // Devices that get a standing plane, at the start or when they come, for faults of the network's
  // rate.
  std::vector<std::string> plane_devices;
  // The same of devices that may have several queues: the plane is one in front of them.
  std::vector<std::string> plane_mq_devices;
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
  // Of any hour, percent.
  double max_hour_share = 50;
  // Faults that came through the collector go on without it.
  bool autonomous = false;
  std::vector<std::string> protected_units;
  // Peers that no network fault meets, without the collector's and ssh's.
  std::vector<v1::PeerFilter> exempt;
  // 0: none.
  int ssh_port = 22;
  Reserve memory_reserve = {.percent = 10};
  StopLimits stop;
  // The file that gave some of these; empty: none.
  std::string config_file;
  // Where what BPF programs count outlives this process; no bpffs: it does not.
  std::string bpffs = "/sys/fs/bpf";
  // Folder of the helper programs; empty: this program's own, or ../libexec/faultline.
  std::string helpers;
};

// Cancelled: help or the like was asked for and has been printed. InvalidArgument: what is wrong;
// empty if it has been printed, as it is for a task like --undo, which is no start of the service.
absl::StatusOr<InjectorOptions> ParseInjectorOptions(int argc, char** argv);

}  // namespace faultline
