// SPDX-License-Identifier: Apache-2.0
#include "proto/words.h"

#include "absl/strings/str_cat.h"

namespace faultline {

absl::string_view PhaseWord(v1::Phase phase) {
  switch (phase) {
    case v1::PHASE_ACCEPTED:
      return "accepted";
    case v1::PHASE_JOURNALED:
      return "journaled";
    case v1::PHASE_APPLIED:
      return "applied";
    case v1::PHASE_VERIFIED:
      return "verified";
    case v1::PHASE_UNDOING:
      return "undoing";
    case v1::PHASE_UNDONE:
      return "undone";
    case v1::PHASE_REFUSED:
      return "refused";
    case v1::PHASE_FAILED:
      return "failed";
    case v1::PHASE_INTERFERED:
      return "interfered";
    default:
      return "unknown";
  }
}

absl::string_view VerdictWord(v1::Verdict verdict) {
  switch (verdict) {
    case v1::VERDICT_EFFECTIVE:
      return "effective";
    case v1::VERDICT_NO_EFFECT:
      return "no_effect";
    case v1::VERDICT_COLLATERAL:
      return "collateral";
    case v1::VERDICT_INTERFERED:
      return "interfered";
    default:
      return "";
  }
}

absl::string_view AvailabilityWord(v1::Availability availability) {
  switch (availability) {
    case v1::AVAILABILITY_AVAILABLE:
      return "available";
    case v1::AVAILABILITY_DEGRADED:
      return "degraded";
    case v1::AVAILABILITY_MISSING:
      return "missing";
    default:
      return "unknown";
  }
}

absl::string_view HeldWord(v1::Held held) {
  switch (held) {
    case v1::HELD_ALL:
      return "all";
    case v1::HELD_PART:
      return "part";
    case v1::HELD_UNKNOWN:
      return "unknown";
    default:
      return "";
  }
}

bool IsFinal(v1::Phase phase) { return phase >= v1::PHASE_UNDONE; }

std::string TargetText(const v1::Target& target) {
  switch (target.target_case()) {
    case v1::Target::kCgroup:
      return absl::StrCat("cgroup:", target.cgroup());
    case v1::Target::kUnit:
      return absl::StrCat("unit:", target.unit());
    case v1::Target::kPid:
      return absl::StrCat("pid:", target.pid());
    case v1::Target::kInterface:
      return absl::StrCat("dev:", target.interface());
    case v1::Target::kHost:
      return "host";
    case v1::Target::TARGET_NOT_SET:
      break;
  }
  return "";
}

}  // namespace faultline
