// SPDX-License-Identifier: Apache-2.0
//
// What this host's owner allows, whoever asks: evaluated on the node, after the spec was found
// valid and before anything is journaled. Immutable after construction.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/clock.h"
#include "faultline/v1/faults.pb.h"
#include "injector/host/host.h"
#include "injector/protection.h"

namespace faultline {

// Shortest duration of a fault: planning, a commit to the journal and attaching take milliseconds,
// and a fault whose deadline comes before that would only be undone.
constexpr std::int64_t kMinDurationNs = 100 * kNsPerMs;

// What a run has held ends when the run does; this is for one that nobody closes.
constexpr std::int64_t kMaxHoldNs = std::int64_t{7} * 24 * 3600 * kNsPerSecond;
// Most holds at the same time: of several runs, and of leftovers.
constexpr int kMaxHolds = 64;

struct GuardPolicy {
  // Most faults at the same time; what is held for a run is none.
  int max_faults = 4;
  // Longest duration of one.
  std::int64_t max_duration_ns = 3600 * kNsPerSecond;
  // Of any hour that faults may take together, percent.
  double max_hour_share = 100;
  // Groups that no fault may touch: neither they, nor one that holds them, nor one inside them.
  std::vector<std::string> protected_cgroups = {};
  // Groups of processes that no fault may touch (PID 1, the injector, what undoes beside it), in
  // every hierarchy: neither they nor one that holds them.
  std::vector<std::string> protected_homes = {};
  // Services that no fault may touch, wherever they run; unset: none is looked up.
  std::optional<Protection> protection = std::nullopt;
};

class Guard {
 public:
  explicit Guard(GuardPolicy policy) : policy_(std::move(policy)) {}

  // InvalidArgument: no duration, or one that is too short or too long. `hold`: for no fault, but
  // for what a run has held.
  absl::Status CheckDuration(const v1::FaultSpec& spec, bool hold = false) const;

  // FailedPrecondition with the reason if `cgroup` is protected: whoever asks, root included.
  absl::Status CheckTarget(const std::string& cgroup) const;
  // The same for the groups of services, which `host` tells (Protection::Check).
  absl::Status CheckServices(Host& host, const std::string& cgroup) const {
    return policy_.protection.has_value()
               ? policy_.protection->Check(
                     {[&host](absl::Span<const std::string> units) {
                        return host.UnitGroups(units);
                      },
                      [&host](const std::string& group) { return host.Members(group); },
                      [&host](const v1::Target& target) { return host.Resolve(target); }},
                     cgroup)
               : absl::OkStatus();
  }

  // FailedPrecondition: one of `active` is of the same type and holds what a fault on `cgroup`
  // would need, e.g. its quota. Before the plan, which would take the other's work for somebody
  // else's.
  static absl::Status CheckRivals(absl::string_view type, const std::string& cgroup,
                                  absl::Span<const v1::FaultState* const> active);

  // FailedPrecondition: too many are active, or one of them already changes what `state` would; or
  // `state` is a hold, and a fault stands on what it would change.
  absl::Status CheckOthers(const v1::FaultState& state,
                           absl::Span<const v1::FaultState* const> active) const;

  // One of `active` that needs what `hold` changed: a fault on a group that it was changed for, or
  // another hold that found it so. Null: none does.
  static const v1::FaultState* StandsOn(const v1::FaultState& hold,
                                        absl::Span<const v1::FaultState* const> active);

 private:
  absl::Status CheckCount(bool hold, absl::Span<const v1::FaultState* const> active) const;

  GuardPolicy policy_;
};

// Where the services run that undo beside the injector (systemd/faultline-undo-*.service), running
// or not: a frozen one keeps no deadline. `homes_of_init`: PID 1's, which tell a container's root.
std::vector<std::string> UndoHomes(absl::Span<const std::string> homes_of_init);

// True if `inner` is `outer` or lies below it.
bool IsWithin(absl::string_view inner, absl::string_view outer);

}  // namespace faultline
