// SPDX-License-Identifier: Apache-2.0
//
// One fault on its way: planned, applied, verified, measured, undone. It holds the levers and the
// state that is reported and journaled; the controller owns it, decides when, journals between the
// steps, and calls under its mutex.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "faultline/v1/faults.pb.h"
#include "injector/faults/fault.h"
#include "injector/guard.h"
#include "injector/host/host.h"

namespace faultline {

class Injection {
 public:
  // Checks the spec against its row, resolves the target, asks `guard` whether it may be touched,
  // and plans; changes nothing. The state is then in PHASE_ACCEPTED with id, seed, defaults and
  // changes filled in. `host` and `clock` must outlive it.
  static absl::StatusOr<std::unique_ptr<Injection>> Plan(Host* host, Clock* clock,
                                                         const v1::FaultSpec& spec,
                                                         Instant commanded, const Guard& guard);

  // One that an earlier process journaled: it can only be undone.
  static std::unique_ptr<Injection> Recover(Host* host, Clock* clock, v1::FaultState state);

  // Pulls the levers in order: PHASE_APPLIED. After a failure Undo must follow.
  absl::Status Apply();

  // Reads every lever back and stamps `acked`: PHASE_VERIFIED. After a failure Undo must follow.
  absl::Status Confirm();

  // Aborted: something else changed the host under the fault.
  absl::Status Verify();

  // Takes the dose and the touches from the fault. True if the first touch became known by it.
  bool Measure();

  // One attempt to bring back what was before, last lever first. True when that is done (or was
  // left alone because somebody else changed it: Interfered) and `undone` is stamped with `final`
  // as the phase; false to try again later. The first reason given stays.
  bool Undo(v1::Phase final, const std::string& reason);

  void SetPhase(v1::Phase phase) { state_.set_phase(phase); }
  void SetBoot(const std::string& boot_id) { state_.set_boot_id(boot_id); }
  const v1::FaultState& state() const { return state_; }
  const std::vector<std::string>& notes() const { return notes_; }
  const std::string& id() const { return state_.spec().id(); }
  bool active() const { return state_.phase() == v1::PHASE_VERIFIED; }

 private:
  Injection(Host* host, Clock* clock) : host_(host), clock_(clock) {}
  void FillState(const FaultType& type, const v1::FaultSpec& spec, Instant commanded);
  // Stamps now; the event happened since `begin_ns`.
  void Stamp(v1::Edge* edge, std::int64_t begin_ns);
  // Levers of a recovered fault are made when they are needed, again until it works.
  absl::Status MakeLevers();
  bool RestoreAll(bool* interfered);
  // The newest edge that is known, CLOCK_BOOTTIME ns.
  std::int64_t LastStampNs() const;

  Host* host_;
  Clock* clock_;
  std::unique_ptr<Fault> fault_;
  std::vector<std::unique_ptr<Lever>> levers_;
  v1::FaultState state_;
  std::vector<std::string> notes_;
  // When Apply began: the fault took hold between then and `acked`.
  std::int64_t apply_ns_ = 0;
  // Phase that it ends in, once undo has begun.
  v1::Phase final_ = v1::PHASE_UNSPECIFIED;
};

// Longest id that a fault may have, bytes.
constexpr size_t kMaxFaultIdLength = 64;

// A fresh random UUID, for faults that the caller did not name.
std::string NewFaultId();

// True from PHASE_UNDONE on.
bool IsFinal(v1::Phase phase);

}  // namespace faultline
