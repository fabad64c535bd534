// SPDX-License-Identifier: Apache-2.0
//
// Everything that the injector changes on a host, behind one interface, so that a test can put a
// host of its own in the place of the real one. A lever is one changeable thing: it knows what was
// there before, applies, tells whether it holds, and restores. Faults make levers; the controller
// alone pulls them. Called under the controller's mutex: one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "faultline/v1/faults.pb.h"

namespace faultline {

// What a fault has measurably done so far.
struct Evidence {
  // Primary first, in the order and with the names of the fault's row.
  std::vector<v1::Dose> dose;
  // CLOCK_BOOTTIME ns of the first and the last packet, task or page that was met; 0 = none yet.
  std::int64_t first_touch_ns = 0;
  std::int64_t last_touch_ns = 0;
  // The touches happened within this many ns of their stamps; 0 if the kernel program took them.
  std::int64_t error_ns = 0;
  // Empty: this is all that was done so far. Otherwise it is less, and this says why.
  std::string missing;
  // Of what is missing, if that is not everything: "packets_steered and the touches".
  std::string missing_what;
};

// When the effect of a lever whose process is gone was over, CLOCK_BOOTTIME ns: between the two.
struct Ended {
  std::int64_t earliest_ns = 0;
  // INT64_MAX: all that is known is that it is over.
  std::int64_t latest_ns = INT64_MAX;
};

class Lever {
 public:
  virtual ~Lever() = default;

  // What is journaled: enough for Host::Recover to restore it after this process is gone. Complete
  // before Apply is ever called.
  virtual const v1::Change& change() const = 0;

  // Sentences that a person should read before it is applied.
  virtual std::vector<std::string> Notes() const { return {}; }

  // Brings `after` into force. A failure may leave it half applied: Restore follows.
  virtual absl::Status Apply() = 0;

  // Read-back from the kernel: OK while `after` is in force, of a recovered lever also (a value
  // outlives its process, a link does not). Aborted: it is not, something else changed it.
  // NotFound: its control group is gone, or everybody who was in it: the target has ended.
  virtual absl::Status Verify() = 0;

  // Of a recovered lever that Verify does not find in force: by when it was over. The fault was to
  // end at `deadline_ns`.
  virtual Ended OverBy(std::int64_t /*deadline_ns*/) { return {}; }

  // Converges to `before`. Legal when nothing, a part or all was applied, and any number of times.
  // If something else has changed the value since, leaves that alone and returns Aborted.
  virtual absl::Status Restore() = 0;

  // OK when the kernel shows `before`; otherwise one sentence: the residue.
  virtual absl::Status Residue() = 0;

  // The counts of the thing itself (a BPF program's, a helper's, a class's); empty where it has
  // none. Still answers after Restore, with the last values.
  virtual Evidence Measure() { return {}; }
};

// A held amount of memory inside a control group, filled at a steady rate.
struct LeakSpec {
  std::string fault_id;
  std::string cgroup;
  std::int64_t bytes = 0;
  std::int64_t bytes_per_second = 0;
};

// Packets of one control group that are to be lost.
struct LossSpec {
  std::string fault_id;
  std::string cgroup;
  // Parts per million; 1'000'000 is a partition.
  std::uint32_t loss_ppm = 0;
  bool inbound = false;
  bool outbound = false;
  // Devices for outbound loss; empty: every one that is up, loopback excepted.
  std::vector<std::string> devices;
  std::vector<v1::PeerFilter> peers;
  std::uint64_t seed = 0;
  // CLOCK_BOOTTIME ns after which the program passes everything.
  std::int64_t deadline_ns = 0;
  // Where the programs' counts are kept so that they outlive this process; the real host fills it
  // in. No bpffs: they do not.
  std::string bpffs;
};

// Packets of one control group that share a rate on one device with a standing plane.
struct RateSpec {
  std::string fault_id;
  std::string cgroup;
  std::string device;
  std::int64_t bits_per_second = 0;
  std::vector<v1::PeerFilter> peers;
  std::int64_t deadline_ns = 0;
  // As LossSpec's.
  std::string bpffs;
};

using LeverOr = absl::StatusOr<std::unique_ptr<Lever>>;

class Host {
 public:
  virtual ~Host() = default;

  // Every maker reads the state of before and changes nothing. FailedPrecondition: this host cannot
  // now; Unimplemented: this kernel cannot; NotFound: there is no such control group or device.

  // Value of `file` of `controller` in control group `cgroup` becomes `value`: through systemd
  // where the group is a unit's own and systemd keeps that value (host/units.h), otherwise through
  // libcgroup, v1 or v2, whichever owns the controller.
  virtual LeverOr CgroupValue(const std::string& cgroup, const std::string& controller,
                              const std::string& file, const std::string& value) = 0;
  // Controller `controller` of cgroup v2 is on for the group and stays so, whatever comes and goes
  // beside it (host/controllers.h): one lever per level that has to be changed, from the top, and
  // at least one that reads.
  virtual absl::StatusOr<std::vector<std::unique_ptr<Lever>>> HoldController(
      const std::string& cgroup, const std::string& controller) = 0;
  // All tasks of the group stop: v1's freezer or v2's cgroup.freeze.
  virtual LeverOr Freezer(const std::string& cgroup) = 0;
  virtual LeverOr Leak(const LeakSpec& spec) = 0;
  // One lever per program that is attached: inbound first, then one per device.
  virtual absl::StatusOr<std::vector<std::unique_ptr<Lever>>> Loss(const LossSpec& spec) = 0;
  // The class on the standing plane first, then the link that steers packets into it.
  virtual absl::StatusOr<std::vector<std::unique_ptr<Lever>>> Rate(const RateSpec& spec) = 0;

  // Current text of `file`, for doses and checks (cpu.stat). No change.
  virtual absl::StatusOr<std::string> ReadCgroup(const std::string& cgroup,
                                                 const std::string& controller,
                                                 const std::string& file) = 0;
  // "v1" or "v2" of the hierarchy that owns `controller`. Unimplemented: none does.
  virtual absl::StatusOr<std::string> ControllerVersion(const std::string& controller) = 0;
  // The control group that a target names. NotFound: it does not exist; InvalidArgument: it is the
  // root, which holds the whole machine; FailedPrecondition: a unit, where there is no systemd.
  virtual absl::StatusOr<std::string> Resolve(const v1::Target& target) = 0;
  // What tells the group from another of the same path: its id in each hierarchy, 0 where it is
  // not. NotFound: it is in none.
  virtual absl::StatusOr<std::vector<std::uint64_t>> GroupIds(const std::string& cgroup) = 0;

  // CPUs that are online.
  virtual int Cpus() = 0;
  // Whether a process is in the group or in one below it, in any hierarchy.
  virtual bool HasProcess(const std::string& cgroup) = 0;

  // Whether this host can make such a lever at all, by trying; the reason if not. "ledger": whether
  // what BPF programs count outlives this process.
  virtual absl::Status Probe(absl::string_view kind) = 0;

  // A lever for a change that an earlier process journaled. It does everything but Apply.
  virtual LeverOr Recover(const v1::Change& change) = 0;
};

}  // namespace faultline
