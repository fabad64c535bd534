// SPDX-License-Identifier: Apache-2.0
#include "injector/guard.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "injector/host/link.h"
#include "injector/host/throttle_lever.h"

namespace faultline {
namespace {

std::string Spell(std::int64_t ns) { return absl::FormatDuration(absl::Nanoseconds(ns)); }

// It was ordered ahead.
bool IsToCome(const v1::FaultState& state) {
  const bool waits = state.phase() == v1::PHASE_ACCEPTED || state.phase() == v1::PHASE_JOURNALED;
  return waits && state.start_boottime_ns() > state.edges().commanded().boottime_ns();
}

// " until 15:04:05Z", by what the clocks said at the command.
std::string At(const v1::FaultState& state, absl::string_view word, std::int64_t boottime_ns) {
  const v1::Edge& commanded = state.edges().commanded();
  const std::int64_t ns = commanded.realtime_ns() + boottime_ns - commanded.boottime_ns();
  return absl::StrCat(" ", word,
                      absl::FormatTime(" %H:%M:%SZ", absl::FromUnixNanos(ns), absl::UTCTimeZone()));
}

// "fault ID (TYPE, until 15:04:05Z)".
std::string Name(const v1::FaultState& state) {
  std::string when = " being undone";
  if (state.phase() != v1::PHASE_UNDOING) {
    when = absl::StrCat(IsToCome(state) ? At(state, "from", state.start_boottime_ns()) : "",
                        At(state, "until", state.deadline_boottime_ns()));
  }
  return absl::StrCat(state.hold() ? "hold " : "fault ", state.spec().id(), " (",
                      state.spec().type(), ",", when, ")");
}

absl::Status Refuse(const v1::FaultState& other, const v1::Change& holds) {
  return absl::FailedPreconditionError(
      absl::StrCat(Name(other), IsToCome(other) ? " is to change " : " already changes ",
                   holds.attribute(), " of ", holds.object(), "; end it with `faultline stop ",
                   other.spec().id(), "`, or wait until it has ended"));
}

// Two changes fight if they set the same thing; for a value of a control group also if one group
// lies within the other, because a parent's limit bounds what its children may be set back to, and
// for steering, because a packet has one class.
bool Fight(const v1::Change& a, const v1::Change& b) {
  if (a.kind() != b.kind() || a.attribute() != b.attribute()) return false;
  // Any number may look.
  if (a.kind() == kWatchKind) return false;
  if (a.object() == b.object()) return true;
  // Of two programs that steer a packet the one of the outer group runs last.
  const bool steers = absl::StrContains(a.attribute(), kSteeringOn);
  return (a.kind() == "cgroup_value" || steers) &&
         (IsWithin(a.object(), b.object()) || IsWithin(b.object(), a.object()));
}

// A hold may only have read what it found.
bool IsReal(const v1::Change& change) {
  return change.before() != change.after() || !change.unit().properties().empty();
}

std::string GroupAbove(const std::string& cgroup) { return cgroup.substr(0, cgroup.rfind('/')); }

// Whether `other` needs what `change` of a hold did. systemd keeps a controller on for a unit
// beside, as long as that asks for it; our own write to the parent's file serves all in it.
bool Needs(const v1::FaultState& other, const v1::Change& change) {
  const bool unit = change.has_unit();
  const std::string top = unit ? change.object() : GroupAbove(change.object());
  if (!other.hold()) return top.empty() || IsWithin(other.cgroup(), top);
  for (const v1::Change& held : other.changes()) {
    const bool same = held.object() == change.object() ||
                      (!unit && !held.has_unit() && GroupAbove(held.object()) == top);
    if (same && held.attribute() == change.attribute()) return true;
  }
  return false;
}

const v1::Change* FindFight(const v1::FaultState& a, const v1::FaultState& b) {
  for (const v1::Change& change : a.changes()) {
    for (const v1::Change& other : b.changes()) {
      if (Fight(change, other)) return &other;
    }
  }
  return nullptr;
}

}  // namespace

std::vector<std::string> UndoHomes(absl::Span<const std::string> homes_of_init) {
  std::vector<std::string> homes;
  for (absl::string_view home : homes_of_init) {
    absl::ConsumeSuffix(&home, "/init.scope");
    absl::ConsumeSuffix(&home, "/");
    for (const char* unit : {"faultline-undo-boot.service", "faultline-undo-keeper.service"}) {
      homes.push_back(absl::StrCat(home, "/system.slice/", unit));
    }
  }
  return homes;
}

bool IsWithin(absl::string_view inner, absl::string_view outer) {
  if (outer == "/" || inner == outer) return true;
  return absl::StartsWith(inner, outer) && inner[outer.size()] == '/';
}

absl::Status Guard::CheckDuration(const v1::FaultSpec& spec, bool hold) const {
  const std::int64_t longest_ns = hold ? kMaxHoldNs : policy_.max_duration_ns;
  if (spec.duration_ns() <= 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("a duration is missing: every fault ends by itself; give one of at most ",
                     Spell(longest_ns)));
  }
  if (spec.duration_ns() < kMinDurationNs) {
    return absl::InvalidArgumentError(
        absl::StrCat("the duration is ", Spell(spec.duration_ns()), "; a fault lasts at least ",
                     Spell(kMinDurationNs), ", and on this host at most ", Spell(longest_ns)));
  }
  if (spec.duration_ns() > longest_ns) {
    return absl::InvalidArgumentError(absl::StrCat("the duration is ", Spell(spec.duration_ns()),
                                                   "; this host allows at most ",
                                                   Spell(longest_ns)));
  }
  return absl::OkStatus();
}

absl::Status Guard::CheckTarget(const std::string& cgroup) const {
  if (cgroup == "/") {
    return absl::FailedPreconditionError(
        "the root control group holds the whole machine; name one below it");
  }
  for (const std::string& home : policy_.protected_homes) {
    if (!IsWithin(home, cgroup)) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("control group ", cgroup,
                     " holds PID 1, the injector itself or a service that undoes what it "
                     "does; name one that holds none of them"));
  }
  for (const std::string& kept : policy_.protected_cgroups) {
    if (!IsWithin(kept, cgroup) && !IsWithin(cgroup, kept)) continue;
    const char* how = cgroup == kept ? " is one" : IsWithin(cgroup, kept) ? " lies in" : " holds";
    return absl::FailedPreconditionError(absl::StrCat(
        "control group ", cgroup, how, cgroup == kept ? "" : absl::StrCat(" ", kept, ", one"),
        " that this host's owner protects (--protect-cgroup); name one outside"));
  }
  return absl::OkStatus();
}

absl::Status Guard::CheckRivals(absl::string_view type, const std::string& cgroup,
                                absl::Span<const v1::FaultState* const> active) {
  for (const v1::FaultState* other : active) {
    // A sham writes what is there already, so no plan can take it for a change.
    if (other->spec().type() != type || other->sham()) continue;
    for (const v1::Change& held : other->changes()) {
      v1::Change same = held;
      same.set_object(cgroup);
      // A group below a frozen one is frozen as well.
      const bool below = held.kind() == "freezer" && IsWithin(cgroup, held.object());
      // Links and classes differ by more than their group, and a signal may be one process's: the
      // plan shows whether they fight.
      const bool known =
          held.kind() != "link" && held.kind() != "net_class" && held.kind() != "signal";
      if (known && (below || Fight(same, held))) return Refuse(*other, held);
    }
  }
  return absl::OkStatus();
}

const v1::FaultState* Guard::StandsOn(const v1::FaultState& hold,
                                      absl::Span<const v1::FaultState* const> active) {
  for (const v1::FaultState* other : active) {
    for (const v1::Change& change : hold.changes()) {
      if (IsReal(change) && Needs(*other, change)) return other;
    }
  }
  return nullptr;
}

absl::Status Guard::CheckOthers(const v1::FaultState& state,
                                absl::Span<const v1::FaultState* const> active) const {
  if (state.hold()) {
    std::vector<const v1::FaultState*> faults;
    std::copy_if(active.begin(), active.end(), std::back_inserter(faults),
                 [](const v1::FaultState* other) { return !other->hold(); });
    if (const v1::FaultState* other = StandsOn(state, faults); other != nullptr) {
      return absl::FailedPreconditionError(
          absl::StrCat(Name(*other), " is on ", other->cgroup(),
                       " already: what is held for a run has to be there before any fault; end it "
                       "with `faultline stop ",
                       other->spec().id(), "`, or wait until it has ended"));
    }
    return CheckCount(true, active);
  }
  for (const v1::FaultState* other : active) {
    const v1::Change* fight = FindFight(state, *other);
    if (fight == nullptr) continue;
    return Refuse(*other, *fight);
  }
  return CheckCount(false, active);
}

absl::Status Guard::CheckCount(bool hold, absl::Span<const v1::FaultState* const> active) const {
  std::vector<std::string> names;
  for (const v1::FaultState* other : active) {
    if (other->hold() == hold) names.push_back(Name(*other));
  }
  const int most = hold ? kMaxHolds : policy_.max_faults;
  if (names.size() < static_cast<size_t>(most)) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "this host allows ", most, hold ? " holds" : " faults", " at a time, and ", names.size(),
      names.size() == 1 ? " is active: " : " are active: ", absl::StrJoin(names, ", "),
      "; end one with `faultline stop ID`, or wait until one has ended"));
}

}  // namespace faultline
