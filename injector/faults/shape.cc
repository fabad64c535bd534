// SPDX-License-Identifier: Apache-2.0
#include "injector/faults/shape.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "base/clock.h"

namespace faultline {
namespace {

// Between two pulses: longer than any fault may last, and far from what 64 bits hold.
constexpr std::int64_t kMostOffNs = 24 * 3600 * kNsPerSecond;

std::string SpellTime(std::int64_t ns) { return absl::FormatDuration(absl::Nanoseconds(ns)); }

absl::Status Wrong(const v1::FaultSpec& spec, absl::string_view rest) {
  return absl::InvalidArgumentError(absl::StrCat(spec.type(), ": ", rest));
}

// "constant and pulse".
absl::Status CheckTaken(const v1::FaultSpec& spec, absl::string_view kind,
                        absl::string_view takes) {
  const std::vector<std::string> taken = absl::StrSplit(takes, '|', absl::SkipEmpty());
  if (std::find(taken.begin(), taken.end(), kind) != taken.end()) return absl::OkStatus();
  if (taken.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(spec.type(),
                     " has the full dose from start to end: leave the shape out or "
                     "make it constant"));
  }
  return Wrong(spec, absl::StrCat("it cannot be a ", kind, "; its shape may be constant or ",
                                  absl::StrJoin(taken, " or ")));
}

// `what` of `ns` is missing, negative or too short.
absl::Status CheckTime(const v1::FaultSpec& spec, absl::string_view what, std::int64_t ns,
                       std::int64_t least_ns) {
  if (ns == 0) {
    return Wrong(spec, absl::StrCat(what, " is missing; give at least ", SpellTime(least_ns)));
  }
  if (ns >= least_ns) return absl::OkStatus();
  return Wrong(spec, absl::StrCat(what, " is ", SpellTime(ns), "; it must be at least ",
                                  SpellTime(least_ns)));
}

absl::Status CheckUnused(const v1::FaultSpec& spec, bool unused, absl::string_view rest) {
  return unused ? absl::OkStatus() : Wrong(spec, rest);
}

absl::Status CheckRamp(const v1::FaultSpec& spec, std::int64_t least_ns) {
  const v1::Shape& shape = spec.shape();
  absl::Status status = CheckTime(spec, "the time of the ramp", shape.ramp_ns(), least_ns);
  if (!status.ok()) return status;
  status = CheckUnused(spec, shape.on_ns() == 0 && shape.off_ns() == 0,
                       "a ramp has one time; the times of a pulse must be left out");
  if (!status.ok()) return status;
  if (shape.ramp_ns() <= spec.duration_ns()) return absl::OkStatus();
  return Wrong(spec, absl::StrCat("the ramp takes ", SpellTime(shape.ramp_ns()),
                                  ", and the fault ends after ", SpellTime(spec.duration_ns()),
                                  "; give a shorter ramp or a longer duration"));
}

absl::Status CheckPulse(const v1::FaultSpec& spec, std::int64_t least_ns) {
  const v1::Shape& shape = spec.shape();
  absl::Status status = CheckTime(spec, "the time that a pulse is on", shape.on_ns(), least_ns);
  if (status.ok()) status = CheckTime(spec, "the time between pulses", shape.off_ns(), least_ns);
  if (!status.ok()) return status;
  status = CheckUnused(spec, shape.ramp_ns() == 0,
                       "a pulse is on or off; the time of a ramp must be left out");
  if (!status.ok()) return status;
  if (shape.off_ns() > kMostOffNs) {
    return Wrong(spec, absl::StrCat("the time between pulses is ", SpellTime(shape.off_ns()),
                                    "; it may be at most ", SpellTime(kMostOffNs)));
  }
  if (shape.on_ns() <= spec.duration_ns()) return absl::OkStatus();
  return Wrong(spec, absl::StrCat("a pulse is on for ", SpellTime(shape.on_ns()),
                                  ", and the fault ends after ", SpellTime(spec.duration_ns()),
                                  "; give shorter pulses or a longer duration"));
}

}  // namespace

double Shape::Level(std::int64_t offset_ns) const {
  if (offset_ns < 0) return 0;
  if (pulse()) return offset_ns % (on_ns + off_ns) < on_ns ? 1 : 0;
  if (!ramp() || offset_ns >= ramp_ns) return 1;
  return static_cast<double>(offset_ns) / static_cast<double>(ramp_ns);
}

int Shape::steps() const {
  return ramp() ? static_cast<int>(std::clamp<std::int64_t>(ramp_ns / kLeastStepNs, 1, kSteps)) : 0;
}

double Shape::LevelOfStep(int i) const { return (i + 0.5) / steps(); }

double Shape::StepLevel(std::int64_t offset_ns) const {
  if (!ramp() || offset_ns < 0 || offset_ns >= ramp_ns) return Level(offset_ns);
  // The stretches are whole ns long, the last one takes what is left.
  const std::int64_t stretch = ramp_ns / steps();
  return LevelOfStep(static_cast<int>(std::min<std::int64_t>(offset_ns / stretch, steps() - 1)));
}

std::int64_t Shape::NextChange(std::int64_t offset_ns) const {
  if (offset_ns < 0) return 0;
  if (pulse()) {
    const std::int64_t in = offset_ns % (on_ns + off_ns);
    return offset_ns - in + (in < on_ns ? on_ns : on_ns + off_ns);
  }
  if (!ramp() || offset_ns >= ramp_ns) return kNever;
  const std::int64_t stretch = ramp_ns / steps();
  const std::int64_t step = offset_ns / stretch + 1;
  return step >= steps() ? ramp_ns : step * stretch;
}

absl::StatusOr<Shape> ParseShape(const v1::FaultSpec& spec, absl::string_view takes,
                                 std::int64_t least_ns) {
  const v1::Shape& asked = spec.shape();
  const auto taken = [&](absl::string_view kind) { return CheckTaken(spec, kind, takes); };
  absl::Status status;
  switch (asked.kind()) {
    case v1::SHAPE_KIND_UNSPECIFIED:
    case v1::SHAPE_KIND_CONSTANT:
      status = CheckUnused(spec, asked.ramp_ns() == 0 && asked.on_ns() == 0 && asked.off_ns() == 0,
                           "a constant shape has no times; say ramp or pulse, or leave them out");
      if (!status.ok()) return status;
      return Shape();
    case v1::SHAPE_KIND_RAMP:
      status = taken("ramp");
      if (status.ok()) status = CheckRamp(spec, least_ns);
      break;
    case v1::SHAPE_KIND_PULSE:
      status = taken("pulse");
      if (status.ok()) status = CheckPulse(spec, least_ns);
      break;
    default:
      status = Wrong(spec, "this version does not know the shape; there are constant, ramp, pulse");
  }
  if (!status.ok()) return status;
  return Shape{asked.ramp_ns(), asked.on_ns(), asked.off_ns()};
}

}  // namespace faultline
