// SPDX-License-Identifier: Apache-2.0
//
// One changeable thing: it knows what was there before, applies, tells whether it holds, and
// restores. Faults choose levers (host.h makes them); the controller alone pulls them. Called under
// the controller's mutex: one thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "faultline/v1/faults.pb.h"

namespace faultline {

// What a fault has measurably done so far.
struct Evidence {
  // Primary first, in the order and with the names of the fault's row.
  std::vector<v1::Dose> dose;
  // CLOCK_BOOTTIME ns of the first and the last packet, task or page that was met; 0 = none yet.
  std::int64_t first_touch_ns = 0;
  std::int64_t last_touch_ns = 0;
  // What came later met nothing any more, whatever counted it, within so many ns; 0: that is not
  // known.
  std::int64_t over_ns = 0;
  std::int64_t over_error_ns = 0;
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

  // Brings `after` into force, or the first of the change's steps where it has any. A failure may
  // leave it half applied: Restore follows.
  virtual absl::Status Apply() = 0;

  // After Apply, SetLevel or Restore said Unavailable: how long, ns, what it began takes yet; then
  // the same is called again, and goes on. 0: it failed. The controller's mutex is free meanwhile,
  // so nothing that waits for the kernel or for systemd blocks for more than a moment.
  virtual std::int64_t wait_ns() const { return 0; }

  // Brings what a shape has at `level` into force, from 0 (`before`) to 1 (`after`), once it is
  // applied; Verify then asks for that. Never beyond what the change names, which is journaled. Not
  // called where the fault's row says that a program or a helper follows the shape by itself.
  virtual absl::Status SetLevel(double /*level*/) {
    return absl::UnimplementedError(
        absl::StrCat("a lever of kind ", change().kind(), " is only on or off"));
  }

  // Read-back from the kernel: OK while what was last set is in force, of a recovered lever also (a
  // value outlives its process, a link does not). Aborted: it is not, something else changed it.
  // NotFound: its control group is gone, or everybody who was in it: the target has ended.
  virtual absl::Status Verify() = 0;

  // Of a recovered lever that Verify does not find in force: by when it was over. The fault was to
  // end at `deadline_ns`.
  virtual Ended OverBy(std::int64_t /*deadline_ns*/) { return {}; }

  // Before any lever of a fault is restored: ends the effect of this one in such a way that nothing
  // is lost when the others let go. How long that will take yet, ns, after which it is called
  // again; 0: it is done. Legal in every state, like Restore, which follows also after a failure.
  virtual absl::StatusOr<std::int64_t> Quiesce() { return 0; }

  // Converges to `before`. Legal when nothing, a part or all was applied, and any number of times.
  // If something else has changed the value since, leaves that alone and returns Aborted.
  virtual absl::Status Restore() = 0;

  // OK when the kernel shows `before`; otherwise one sentence: the residue.
  virtual absl::Status Residue() = 0;

  // The counts of the thing itself (a BPF program's, a helper's, a class's); empty where it has
  // none. Still answers after Restore, with the last values.
  virtual Evidence Measure() { return {}; }
};

using LeverOr = absl::StatusOr<std::unique_ptr<Lever>>;

}  // namespace faultline
