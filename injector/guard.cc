// SPDX-License-Identifier: Apache-2.0
#include "injector/guard.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace faultline {
namespace {

std::string Spell(std::int64_t ns) { return absl::FormatDuration(absl::Nanoseconds(ns)); }

// Two changes fight if they set the same thing; for a value of a control group also if one group
// lies within the other, because a parent's limit bounds what its children may be set back to.
bool Fight(const v1::Change& a, const v1::Change& b) {
  if (a.kind() != b.kind() || a.attribute() != b.attribute()) return false;
  if (a.object() == b.object()) return true;
  return a.kind() == "cgroup_value" &&
         (IsWithin(a.object(), b.object()) || IsWithin(b.object(), a.object()));
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

bool IsWithin(absl::string_view inner, absl::string_view outer) {
  if (outer == "/" || inner == outer) return true;
  return absl::StartsWith(inner, outer) && inner[outer.size()] == '/';
}

absl::Status Guard::CheckDuration(const v1::FaultSpec& spec) const {
  if (spec.duration_ns() <= 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("a duration is missing: every fault ends by itself; give one of at most ",
                     Spell(policy_.max_duration_ns)));
  }
  if (spec.duration_ns() > policy_.max_duration_ns) {
    return absl::InvalidArgumentError(absl::StrCat("the duration is ", Spell(spec.duration_ns()),
                                                   "; this host allows at most ",
                                                   Spell(policy_.max_duration_ns)));
  }
  return absl::OkStatus();
}

absl::Status Guard::CheckTarget(const std::string& cgroup) const {
  if (cgroup == "/") {
    return absl::PermissionDeniedError(
        "the root control group holds the whole machine; name one below it");
  }
  for (const std::string& home : policy_.protected_homes) {
    if (!IsWithin(home, cgroup)) continue;
    return absl::PermissionDeniedError(
        absl::StrCat("control group ", cgroup,
                     " holds PID 1 or the injector itself; name one that holds neither"));
  }
  for (const std::string& kept : policy_.protected_cgroups) {
    if (!IsWithin(kept, cgroup) && !IsWithin(cgroup, kept)) continue;
    return absl::PermissionDeniedError(
        absl::StrCat("control group ", cgroup, " touches ", kept,
                     ", which this host's owner protects; name one outside"));
  }
  return absl::OkStatus();
}

absl::Status Guard::CheckOthers(const v1::FaultState& state,
                                absl::Span<const v1::FaultState* const> active) const {
  for (const v1::FaultState* other : active) {
    const v1::Change* fight = FindFight(state, *other);
    if (fight == nullptr) continue;
    return absl::FailedPreconditionError(
        absl::StrCat("fault ", other->spec().id(), " (", other->spec().type(), ") already changes ",
                     fight->attribute(), " of ", fight->object(), "; stop it or wait for its end"));
  }
  if (active.size() >= static_cast<size_t>(policy_.max_faults)) {
    return absl::FailedPreconditionError(
        absl::StrCat(active.size(), " faults are active and this host allows ", policy_.max_faults,
                     " at a time; stop one or wait"));
  }
  return absl::OkStatus();
}

}  // namespace faultline
