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

// When a fault was ordered, and when it begins, CLOCK_BOOTTIME ns.
struct Timing {
  Instant commanded;
  std::int64_t start_ns = 0;
};

// Faults beside one that is planned.
struct Others {
  // In force at a time when it will be.
  std::vector<const v1::FaultState*> beside;
  // In force now, and over before it begins.
  std::vector<const v1::FaultState*> before;
};

class Injection {
 public:
  // Checks the spec against its row, resolves the target, asks `guard` whether it may be touched
  // and whether one of `others` stands in the way, and plans; changes nothing. The state is then in
  // PHASE_ACCEPTED with id, seed, defaults and changes filled in; without changes where one that is
  // over before it begins holds what it will change, as nobody can see yet what is there then. A
  // network fault never meets `exempt`. `host` and `clock` must outlive it.
  static absl::StatusOr<std::unique_ptr<Injection>> Plan(Host* host, Clock* clock,
                                                         const v1::FaultSpec& spec, Timing timing,
                                                         const Guard& guard, const Others& others,
                                                         std::vector<v1::PeerFilter> exempt = {});

  // One that an earlier process journaled: it can only be measured and undone.
  static std::unique_ptr<Injection> Recover(Host* host, Clock* clock, v1::FaultState state);

  // Of one that was planned some time ago. FailedPrecondition: what it would change is no longer as
  // it was then, or the process that names its target is another. OK: only what the fault does from
  // now on will count.
  absl::Status CheckBefore();

  // Host::ProcessStart of the target.
  std::int64_t process_start() const { return process_start_; }
  // From now on the target's process is the one that was started at `process_start`.
  // FailedPrecondition: it has ended, whoever has its number now.
  absl::Status HoldProcess(std::int64_t process_start);

  // Pulls the levers in order: PHASE_APPLIED. FailedPrecondition: the deadline is over, and no more
  // is pulled. After a failure Undo must follow, unless settle_ns() tells that one of them takes
  // its time: then the same is called again, and goes on.
  absl::Status Apply();
  // It is between the two: not in force, and nothing has failed.
  bool applying() const { return state_.phase() == v1::PHASE_JOURNALED && settle_ns_ > 0; }

  // Reads every lever back, measures for the first time and stamps `acked`: PHASE_VERIFIED. After a
  // failure Undo must follow.
  absl::Status Confirm();

  // Aborted: something else changed the host under the fault, or stopped or restarted the unit that
  // is its target. NotFound: the target has ended. Of a hold its levers alone decide: a target may
  // end and come back within a run; and of a fault that ends targets (Fault::EndsTarget).
  absl::Status Verify();

  // Brings the levers to where the shape is now, where the controller has to (Follower). Aborted
  // and NotFound as of Verify, which is asked before a step begins. Unavailable while moving(): a
  // lever still moves; any other failure: it did not, or a pulse was over before it was in force.
  absl::Status Step();
  // A lever takes its time for a step, which Step goes on with: there is nothing to read back.
  bool moving() const { return move_ns_ != 0; }
  // When Step has something to do next, CLOCK_BOOTTIME ns; Shape::kNever.
  std::int64_t NextStep() const;

  // Takes the dose and the touches from the fault. True if the first touch became known by it.
  bool Measure();

  // PHASE_UNDOING: it will end as `final`, because of `reason`; what an earlier process journaled
  // of both stays. Changes nothing on the host.
  void BeginUndo(v1::Phase final, const std::string& reason);

  // Instead of an attempt: it cannot be undone yet, because of `why`; settle_ns as given. False.
  bool PutOff(const std::string& why, std::int64_t settle_ns);

  // One attempt to bring back what was before, last lever first. True when that is done (or was
  // left alone because somebody else changed it: Interfered) and `undone` is stamped; false to try
  // again later.
  bool Undo();
  // After an attempt to apply or to undo that did not succeed: it only waits, so long yet, for what
  // a lever has begun; 0: something went wrong.
  std::int64_t settle_ns() const { return settle_ns_; }

  void SetPhase(v1::Phase phase) { state_.set_phase(phase); }
  void SetBoot(const std::string& boot_id) { state_.set_boot_id(boot_id); }
  void SetLeased(bool leased) { state_.set_leased(leased); }
  const v1::FaultState& state() const { return state_; }
  const std::vector<std::string>& notes() const { return notes_; }
  const std::string& id() const { return state_.spec().id(); }
  bool active() const { return state_.phase() == v1::PHASE_VERIFIED; }
  bool recovered() const { return recovered_; }

 private:
  // Whether the kernel shows the fault.
  enum class Hold : std::uint8_t { kNo, kYes, kUnknown };

  Injection(Host* host, Clock* clock) : host_(host), clock_(clock) {}
  void FillState(const FaultType& type, const v1::FaultSpec& spec, Timing timing);
  absl::Status PlanLevers(const FaultType& type, const Parameters& parameters, const Shape& shape,
                          const Others& others, std::vector<v1::PeerFilter> exempt);
  void TakeBaseline();
  // What is new since the last step to `level`, in the order that never loosens on the way.
  absl::Status SetLevels(double level);
  // Stamps `at_ns`, by the offset of the two clocks at `now`.
  static void Stamp(v1::Edge* edge, const Instant& now, std::int64_t at_ns, std::int64_t error_ns);
  // Levers of a recovered fault are made when they are needed, again until it works.
  absl::Status MakeLevers();
  // Finds the target's group; a process that names it is the same before and after.
  absl::Status FindTarget(const v1::Target& target);
  // That the target is still the group that it was.
  absl::Status CheckTarget() const;
  // That the process which names the target is still the one that it was.
  absl::Status CheckProcess() const;
  Hold InForce() const;
  // What Lever::Quiesce says of all of them.
  std::int64_t Quiesce();
  // Sets settle_ns_ where a lever takes its time.
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
  // Constant where somebody else follows the shape.
  Shape steps_;
  // Of the levers, of 0 to 1.
  double level_ = 1;
  std::int64_t process_start_ = 0;
  // Host::GroupIds of the target when it was planned.
  std::vector<std::uint64_t> group_ids_;
  // Of the last measurement: Evidence::missing and missing_what.
  std::string missing_;
  std::string missing_what_;
  // Levers that were applied.
  size_t applied_ = 0;
  // That the last step went down.
  bool less_ = false;
  // When Step is to go on with a lever that moves, CLOCK_BOOTTIME ns; 0: none does.
  std::int64_t move_ns_ = 0;
  // When Apply began: the fault took hold between then and `acked`.
  std::int64_t apply_ns_ = 0;
  // When the last read-back succeeded.
  std::int64_t held_ns_ = 0;
  std::int64_t settle_ns_ = 0;
  // When the first attempt to restore began; 0: there was none.
  std::int64_t restoring_ns_ = 0;
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
