// SPDX-License-Identifier: Apache-2.0
//
// The interval table of one node: what was injected and when, and the one place where the labels of
// a window are derived from it. All label columns of all files come from Label. docs/dataset.md has
// the definitions. Immutable after construction.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "faultline/v1/datasets.pb.h"
#include "faultline/v1/telemetry.pb.h"

namespace faultline {

// A fault as the labels see it. Instants are CLOCK_BOOTTIME ns of its boot.
struct FaultInterval {
  v1::FaultState state;
  v1::Verdict verdict = v1::VERDICT_UNSPECIFIED;
  // Metrics that moved most; see verdict.h.
  std::vector<v1::Movement> moved;
  // Why the verdict is what it is, where that is not plain.
  std::string note;
  // End of the recovery; equal to End() where there was none.
  std::int64_t recovered_ns = 0;

  // It changed something on the host, or may have: confirmed by the kernel, failed half-way, or
  // taken back before it was confirmed.
  bool Changed() const;
  // Of one that was ordered ahead its start: until then nothing is done to the host.
  std::int64_t Begin() const;
  // From here the kernel had it; 0: never.
  std::int64_t Acked() const { return state.edges().acked().boottime_ns(); }
  // Its end is known: undone, or over without that edge.
  bool HasEnd() const;
  // Its programs pass everything after the deadline, whoever is there to take them off.
  bool EndsItself() const;
  // Undone; without that edge the deadline if the fault is over or ends itself, otherwise for ever.
  std::int64_t End() const;
  // Until here it was in force for sure: End less the error of `undone`, but not before a touch.
  std::int64_t SureEnd() const;
  // Real time of Begin and End; of the end 0: not over.
  std::int64_t BeginRealtime() const;
  std::int64_t EndRealtime() const;
  // Where [begin, end] lies in the pulses of the fault. One without pulses is on all the time, and
  // so is one whose pulses are shorter than the window, which cannot tell them apart.
  enum class Pulse : std::uint8_t { kOn, kBetween, kEdge };
  Pulse PulseIn(std::int64_t begin_ns, std::int64_t end_ns) const;
  // [begin, end] lies wholly between first_touch and SureEnd, and in one pulse.
  bool Covers(std::int64_t begin_ns, std::int64_t end_ns) const;
  // It was confirmed and not surely undone in some part of [begin, end].
  bool MayBeActive(std::int64_t begin_ns, std::int64_t end_ns) const;
  // The same, surely, in the window of `frame`: before SureEnd, and witnessed.
  bool IsActive(const v1::Frame& frame) const;
  // [begin, end] and the time from Begin to End have more than an instant in common.
  bool Touches(std::int64_t begin_ns, std::int64_t end_ns) const;
  // Somebody can say that it stood in the window of `frame`: its end is known, or the node named
  // it.
  bool IsWitnessed(const v1::Frame& frame) const;
  // An anomaly by its verdict.
  bool IsLabelled() const;

 private:
  std::int64_t RealtimeOf(std::int64_t boottime_ns) const;
};

// A stretch of one boot, CLOCK_BOOTTIME ns.
struct Span {
  std::string boot_id;
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
};

// One of `spans` and [begin, end] of boot `boot_id` have more than an instant in common.
bool AnyTouches(const std::vector<Span>& spans, absl::string_view boot_id, std::int64_t begin_ns,
                std::int64_t end_ns);

enum class LabelState : std::uint8_t { kNormal, kUnknown, kRecovery, kFault, kTransition };
constexpr int kLabelStates = 5;
// "normal", "unknown", ...
const char* LabelStateName(LabelState state);

struct WindowLabel {
  // Unset: nobody can say.
  std::optional<bool> fault_active;
  bool label = false;
  LabelState state = LabelState::kNormal;
  // Faults that are active in the window, have an edge in it or are recovering in it; oldest first.
  std::vector<const FaultInterval*> faults;
  // Active faults that the node named and that the catalogue does not know.
  std::vector<std::string> unknown_faults;
  // The node did not see its injector.
  bool unseen = false;
  // Whether a fault is active: the node said one thing in the frame, its faults' edges another.
  bool facts_differ = false;
};

class IntervalTable {
 public:
  // `unseen`: when the node did not see its injector.
  IntervalTable(std::vector<FaultInterval> faults, std::vector<Span> unseen)
      : faults_(std::move(faults)), unseen_(std::move(unseen)) {}

  // The label of the window of `frame`, which belongs to boot `boot_id`.
  WindowLabel Label(const v1::Frame& frame, absl::string_view boot_id) const;

  const std::vector<FaultInterval>& faults() const { return faults_; }

 private:
  std::vector<FaultInterval> faults_;
  std::vector<Span> unseen_;
};

// The fault acts on this entity: the control group itself or one inside it, the interface, or the
// host.
bool IsTarget(const v1::FaultState& fault, absl::string_view table, absl::string_view entity);

// Both are known and differ.
bool OtherBoot(absl::string_view a, absl::string_view b);

}  // namespace faultline
