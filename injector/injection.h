// SPDX-License-Identifier: Apache-2.0
//
// One fault on its way: planned, applied, verified, measured (injection.cc), undone (undo.cc). It
// holds the levers and the state that is reported and journaled; the controller owns it, decides
// when, journals between the steps, and calls under its mutex.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/clock.h"
#include "faultline/v1/faults.pb.h"
#include "injector/faults/fault.h"
#include "injector/guard.h"
#include "injector/host/host.h"

namespace faultline {

class Injection {
 public:
  // Checks the spec against its row, resolves the target, asks `guard` whether it may be touched
  // and whether one of `others` stands in the way, and plans; changes nothing. The state is then in
  // PHASE_ACCEPTED with id, seed, defaults and changes filled in. `host` and `clock` must outlive
  // it.
  static absl::StatusOr<std::unique_ptr<Injection>> Plan(
      Host* host, Clock* clock, const v1::FaultSpec& spec, Instant commanded, const Guard& guard,
      absl::Span<const v1::FaultState* const> others);

  // One that an earlier process journaled: it can only be measured and undone.
  static std::unique_ptr<Injection> Recover(Host* host, Clock* clock, v1::FaultState state);

  // Pulls the levers in order: PHASE_APPLIED. After a failure Undo must follow. FailedPrecondition:
  // the deadline is over, and nothing was pulled.
  absl::Status Apply();

  // Reads every lever back, measures for the first time and stamps `acked`: PHASE_VERIFIED. After a
  // failure Undo must follow.
  absl::Status Confirm();

  // Aborted: something else changed the host under the fault, or stopped or restarted the unit that
  // is its target. NotFound: the target has ended. Of a hold its levers alone decide: a target may
  // end and come back within a run.
  absl::Status Verify();

  // Takes the dose and the touches from the fault. True if the first touch became known by it.
  bool Measure();

  // PHASE_UNDOING: it will end as `final`, because of `reason`; what an earlier process journaled
  // of both stays. Changes nothing on the host.
  void BeginUndo(v1::Phase final, const std::string& reason);

  // Instead of an attempt: it cannot be undone yet, because of `why`. False.
  bool PutOff(const std::string& why);

  // One attempt to bring back what was before, last lever first. True when that is done (or was
  // left alone because somebody else changed it: Interfered) and `undone` is stamped; false to try
  // again later.
  bool Undo();

  void SetPhase(v1::Phase phase) { state_.set_phase(phase); }
  void SetBoot(const std::string& boot_id) { state_.set_boot_id(boot_id); }
  const v1::FaultState& state() const { return state_; }
  const std::vector<std::string>& notes() const { return notes_; }
  const std::string& id() const { return state_.spec().id(); }
  bool active() const { return state_.phase() == v1::PHASE_VERIFIED; }
  bool recovered() const { return recovered_; }

 private:
  // Whether the kernel shows the fault.
  enum class Hold : std::uint8_t { kNo, kYes, kUnknown };

  Injection(Host* host, Clock* clock) : host_(host), clock_(clock) {}
  void FillState(const FaultType& type, const v1::FaultSpec& spec, Instant commanded);
  // Stamps `at_ns`, by the offset of the two clocks at `now`.
  static void Stamp(v1::Edge* edge, const Instant& now, std::int64_t at_ns, std::int64_t error_ns);
  // Levers of a recovered fault are made when they are needed, again until it works.
  absl::Status MakeLevers();
  // That the target is still the group that it was.
  absl::Status CheckTarget() const;
  Hold InForce() const;
  bool RestoreAll(bool* interfered);
  void TakeDose(const Evidence& evidence);
  // `begin_ns` is when the attempt that succeeded began, `end` when it was done.
  void StampUndone(std::int64_t begin_ns, const Instant& end);
  Ended EndOfRecovered(std::int64_t end_ns) const;
  void SayWhatIsMissing();

  Host* host_;
  Clock* clock_;
  std::unique_ptr<Fault> fault_;
  std::vector<std::unique_ptr<Lever>> levers_;
  v1::FaultState state_;
  std::vector<std::string> notes_;
  // Host::GroupIds of the target when it was planned.
  std::vector<std::uint64_t> group_ids_;
  // Of the last measurement: Evidence::missing and missing_what.
  std::string missing_;
  std::string missing_what_;
  // When Apply began: the fault took hold between then and `acked`.
  std::int64_t apply_ns_ = 0;
  // When the last read-back succeeded.
  std::int64_t held_ns_ = 0;
  // The read-back failed, so the fault was over before its undo began.
  bool lost_ = false;

  bool recovered_ = false;
  // Of a recovered one: when it was last known to be in force before, and when an attempt to undo
  // found it so and ended it (0: none did; then `unsure_` if one could not tell). Open: that
  // attempt did not succeed.
  std::int64_t alive_ns_ = 0;
  Ended held_until_{0, 0};
  bool held_open_ = false;
  bool unsure_ = false;
};

// The newest instant at which the fault was known to be on its way, CLOCK_BOOTTIME ns: an edge or a
// measurement.
std::int64_t LastSignNs(const v1::FaultState& state);

// "its dose is a lower bound, ...": what of the dose is missing of a fault that was over at
// `end_ns` at the latest, and why; `what` of it, if that is not everything. Empty for a sham.
std::string LowerBound(const v1::FaultState& state, std::int64_t end_ns, absl::string_view why,
                       absl::string_view what = "");

// Longest id that a fault may have, bytes.
constexpr size_t kMaxFaultIdLength = 64;

// A fresh random UUID, for faults that the caller did not name.
std::string NewFaultId();

}  // namespace faultline
