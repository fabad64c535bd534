// SPDX-License-Identifier: Apache-2.0
//
// A machine as faults see it: what they ask of it, and the makers of their levers, all of them on a
// Kernel. Called under the controller's mutex: one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "faultline/v1/faults.pb.h"
#include "injector/host/controllers.h"
#include "injector/host/helper_lever.h"
#include "injector/host/kernel.h"
#include "injector/host/leak.h"
#include "injector/host/lever.h"
#include "injector/host/load.h"
#include "injector/host/net.h"
#include "injector/host/signal.h"
#include "injector/host/units.h"
#include "injector/reserve.h"

namespace faultline {

class Host {
 public:
  struct Options {
    // Devices that were to get a standing plane.
    std::vector<PlaneDevice> plane_devices = {};
    // Of the machine's memory, that has to stay available.
    Reserve memory_reserve = {.percent = 10};
  };

  // What `kernel` points to must outlive the host, which must outlive its levers.
  Host(Options options, const Kernel& kernel) : options_(std::move(options)), kernel_(kernel) {}

  // Every maker reads the state of before and changes nothing. FailedPrecondition: this host cannot
  // now; Unimplemented: this kernel cannot; NotFound: there is no such control group or device.

  // Value of `file` of `controller` in control group `cgroup` becomes `value`: through systemd
  // where the group is a unit's own and systemd keeps that value (host/units.h), otherwise through
  // libcgroup, v1 or v2, whichever owns the controller. `steps`: what a ramp passes on its way to
  // `value`.
  LeverOr CgroupValue(const std::string& cgroup, const std::string& controller,
                      const std::string& file, const std::string& value,
                      const std::vector<std::string>& steps);
  // Of such a file with a line per device, the one of `key` ("8:0"); "" is none. Always through
  // libcgroup.
  LeverOr CgroupKey(const std::string& cgroup, const std::string& controller,
                    const std::string& file, const std::string& key, const std::string& value,
                    const std::vector<std::string>& steps);
  // Controller `controller` of cgroup v2 is on for the group and stays so, whatever comes and goes
  // beside it (host/controllers.h): one lever per level that has to be changed, from the top, and
  // at least one that reads.
  absl::StatusOr<std::vector<std::unique_ptr<Lever>>> HoldController(const std::string& cgroup,
                                                                     const std::string& controller);
  // All tasks of the group stop: v1's freezer or v2's cgroup.freeze. Without `freezes` they go on:
  // what the file says already is written again.
  LeverOr Freezer(const std::string& cgroup, bool freezes);
  // Sees when a CPU limit holds tasks of the group or of one below it back (host/throttle_lever.h).
  LeverOr WatchThrottling(const std::string& cgroup);
  LeverOr Leak(const LeakSpec& spec);
  LeverOr Load(const LoadSpec& spec);
  LeverOr Signal(const SignalSpec& spec);
  // One lever per program that is attached: inbound first, then one per device.
  absl::StatusOr<std::vector<std::unique_ptr<Lever>>> Loss(const LossSpec& spec);
  // The class on the standing plane first, then the link that steers packets into it.
  absl::StatusOr<std::vector<std::unique_ptr<Lever>>> Rate(const RateSpec& spec);
  absl::StatusOr<std::vector<std::unique_ptr<Lever>>> Delay(const DelaySpec& spec);

  // Current text of `file`, for doses and checks (cpu.stat). No change.
  absl::StatusOr<std::string> ReadCgroup(const std::string& cgroup, const std::string& controller,
                                         const std::string& file);
  // "v1" or "v2" of the hierarchy that owns `controller`. Unimplemented: none does.
  absl::StatusOr<std::string> ControllerVersion(const std::string& controller);
  // The control group that a target names. NotFound: it does not exist; InvalidArgument: it is the
  // root, which holds the whole machine; FailedPrecondition: a unit, where there is no systemd.
  absl::StatusOr<std::string> Resolve(const v1::Target& target);
  // When the process that a target names was started (Processes::StartTime), which tells it from
  // another that has its number by now; 0: it names none. NotFound: it has ended.
  absl::StatusOr<std::int64_t> ProcessStart(const v1::Target& target) const;
  // The group of each of `units`, in their order; empty: it does not run. FailedPrecondition: there
  // is no systemd.
  absl::StatusOr<std::vector<std::string>> UnitGroups(absl::Span<const std::string> units) const;
  // What tells the group from another of the same path: its id in each hierarchy, 0 where it is
  // not. NotFound: it is in none.
  absl::StatusOr<std::vector<std::uint64_t>> GroupIds(const std::string& cgroup);

  // A block device by its name or number.
  absl::StatusOr<BlockDevice> Block(const std::string& device) const {
    return kernel_.blocks->Named(device);
  }
  // Text of /proc/meminfo.
  absl::StatusOr<std::string> Meminfo() const { return kernel_.helpers->Meminfo(); }

  // CPUs that are online.
  int Cpus() const { return kernel_.cpus; }
  // Whether a process is in the group or in one below it, in any hierarchy.
  bool HasProcess(const std::string& cgroup);
  // Those processes, or threads of one.
  std::vector<pid_t> Members(const std::string& cgroup) const {
    return kernel_.cgroups->MembersOf(cgroup);
  }

  // Whether this host can make such a lever at all, by trying; the reason if not. "ledger": whether
  // what BPF programs count outlives this process; "watch": after it the first WatchThrottling has
  // nothing to load.
  absl::Status Probe(absl::string_view kind);

  // A lever for a change that an earlier process journaled. It does everything but Apply.
  LeverOr Recover(const v1::Change& change);

 private:
  ControllerHost Controllers() const;
  absl::StatusOr<std::string> ResolveUnit(const std::string& unit) const;
  // The unit that systemd keeps `file` of `cgroup` for; none: a write to the file stays.
  absl::StatusOr<std::optional<Units::Unit>> KeeperOf(const std::string& cgroup,
                                                      const std::string& controller,
                                                      const std::string& file) const;

  const Options options_;
  const Kernel kernel_;
};

}  // namespace faultline
