// SPDX-License-Identifier: Apache-2.0
//
// How the dose of a fault goes over time: constant, a ramp, or pulses. Who follows it is the row's
// (FaultType::follower): a kernel program (fault_level of bpf/fault.h is the same function), a
// helper, or the controller, which takes a ramp in steps. Pure, any thread.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "faultline/v1/faults.pb.h"

namespace faultline {

struct Shape {
  // Steps of a ramp that is taken in steps, before the full dose.
  static constexpr int kSteps = 20;
  // Least time between two of them, and of a pulse, where the controller has to act.
  static constexpr std::int64_t kLeastStepNs = 100'000'000;
  static constexpr std::int64_t kNever = INT64_MAX;

  // All 0: constant. A ramp has ramp_ns, a pulse on_ns and off_ns.
  std::int64_t ramp_ns = 0;
  std::int64_t on_ns = 0;
  std::int64_t off_ns = 0;

  bool ramp() const { return ramp_ns > 0; }
  bool pulse() const { return on_ns > 0; }

  // Share of the full dose, `offset_ns` after the start: 0 before it.
  double Level(std::int64_t offset_ns) const;

  // The same in steps. Of a ramp: steps() equal stretches of time, each with what the ramp has in
  // its middle, then 1. Never 0 in a ramp.
  double StepLevel(std::int64_t offset_ns) const;
  // Offset at which StepLevel changes next; kNever: it stays.
  std::int64_t NextChange(std::int64_t offset_ns) const;
  // 0: no ramp.
  int steps() const;
  // Level of step `i`, from 0 to steps() - 1.
  double LevelOfStep(int i) const;
};

// The shape that `spec` asks for. `takes`: what its row does, as FaultType::shapes; `least_ns`: the
// shortest ramp, pulse and pause. InvalidArgument with a sentence.
absl::StatusOr<Shape> ParseShape(const v1::FaultSpec& spec, absl::string_view takes,
                                 std::int64_t least_ns);

}  // namespace faultline
