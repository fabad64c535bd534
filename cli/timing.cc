// SPDX-License-Identifier: Apache-2.0
#include "cli/timing.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "cli/parse.h"

namespace faultline::cli {
namespace {

absl::Status BadShape(absl::string_view text, absl::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("shape \"", text, "\": ", why,
                   "; write constant, ramp:TIME like ramp:30s, or pulse:ON/OFF like pulse:5s/10s"));
}

absl::Status BadStart(absl::string_view text, absl::string_view why) {
  return absl::InvalidArgumentError(
      absl::StrCat("start \"", text, "\": ", why,
                   "; write a time from now on, like +10s, or an instant with its zone, like "
                   "2026-01-02T03:04:05Z"));
}

std::string Short(std::int64_t ns) { return absl::FormatDuration(absl::Nanoseconds(ns)); }

}  // namespace

absl::StatusOr<v1::Shape> ParseShape(absl::string_view text) {
  v1::Shape shape;
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(text, absl::MaxSplits(':', 1));
  if (text == "constant") {
    shape.set_kind(v1::SHAPE_KIND_CONSTANT);
  } else if (parts.first == "ramp") {
    shape.set_kind(v1::SHAPE_KIND_RAMP);
    const absl::StatusOr<std::int64_t> ramp = ParseDuration(parts.second);
    if (!ramp.ok()) return BadShape(text, "its time is no duration above 0");
    shape.set_ramp_ns(*ramp);
  } else if (parts.first == "pulse") {
    shape.set_kind(v1::SHAPE_KIND_PULSE);
    const std::pair<absl::string_view, absl::string_view> times =
        absl::StrSplit(parts.second, absl::MaxSplits('/', 1));
    const absl::StatusOr<std::int64_t> on = ParseDuration(times.first);
    const absl::StatusOr<std::int64_t> off = ParseDuration(times.second);
    if (!on.ok() || !off.ok()) return BadShape(text, "its times are not two durations above 0");
    shape.set_on_ns(*on);
    shape.set_off_ns(*off);
  } else {
    return BadShape(text, "there is no such shape");
  }
  return shape;
}

std::string ShapeText(const v1::Shape& shape) {
  if (shape.kind() == v1::SHAPE_KIND_RAMP) return absl::StrCat("ramp:", Short(shape.ramp_ns()));
  if (shape.kind() == v1::SHAPE_KIND_PULSE) {
    return absl::StrCat("pulse:", Short(shape.on_ns()), "/", Short(shape.off_ns()));
  }
  return "constant";
}

absl::Status ParseStart(absl::string_view text, v1::FaultSpec* spec) {
  absl::string_view delay = text;
  if (absl::ConsumePrefix(&delay, "+")) {
    const absl::StatusOr<std::int64_t> ns = ParseDuration(delay);
    if (!ns.ok()) return BadStart(text, "that is no duration above 0");
    spec->set_start_delay_ns(*ns);
    return absl::OkStatus();
  }
  absl::Time instant;
  std::string error;
  if (!absl::StrContains(text, "T") ||
      !absl::ParseTime(absl::RFC3339_full, text, &instant, &error)) {
    return BadStart(text, "that is no instant");
  }
  const std::int64_t ns = absl::ToUnixNanos(instant);
  if (instant <= absl::UnixEpoch() || ns == INT64_MAX) return BadStart(text, "that is no instant");
  spec->set_start_realtime_ns(ns);
  return absl::OkStatus();
}

std::int64_t StartRealtime(const v1::FaultState& fault) {
  const v1::Edge& commanded = fault.edges().commanded();
  return commanded.realtime_ns() + fault.start_boottime_ns() - commanded.boottime_ns();
}

bool IsToCome(const v1::FaultState& fault) {
  const bool waits = fault.phase() == v1::PHASE_ACCEPTED || fault.phase() == v1::PHASE_JOURNALED;
  return waits && fault.start_boottime_ns() > fault.edges().commanded().boottime_ns();
}

}  // namespace faultline::cli
