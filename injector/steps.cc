// SPDX-License-Identifier: Apache-2.0
//
// A fault that follows a shape by the controller's hand: its levers go from step to step, all of
// which were journaled before the first.
#include "injector/faults/shape.h"
#include "injector/injection.h"

namespace faultline {

std::int64_t Injection::NextStep() const {
  if (moving()) return move_ns_;
  const std::int64_t start_ns = state_.start_boottime_ns();
  const std::int64_t now_ns = clock_->Now().boottime_ns;
  // One that was slept over is due now.
  if (steps_.StepLevel(now_ns - start_ns) != level_) return now_ns;
  const std::int64_t next = steps_.NextChange(now_ns - start_ns);
  return next == Shape::kNever ? next : start_ns + next;
}

absl::Status Injection::SetLevels(double level) {
  if (level != level_) less_ = level < level_;
  level_ = level;
  move_ns_ = 0;
  for (size_t i = 0; i < levers_.size(); ++i) {
    Lever& lever = *levers_[less_ ? levers_.size() - 1 - i : i];
    const absl::Status set = lever.SetLevel(level);
    if (set.ok()) continue;
    if (lever.wait_ns() > 0) move_ns_ = clock_->Now().boottime_ns + lever.wait_ns();
    return set;
  }
  return absl::OkStatus();
}

absl::Status Injection::Step() {
  const std::int64_t now_ns = clock_->Now().boottime_ns;
  const double level = steps_.StepLevel(now_ns - state_.start_boottime_ns());
  if (level == level_ && !moving()) return absl::OkStatus();
  // A label says that each pulse was on.
  if (moving() && level != level_ && level_ > 0 && steps_.pulse() && !SetLevels(level_).ok()) {
    return absl::FailedPreconditionError("a pulse was over before the kernel had made it so");
  }
  // What moves is neither what it was nor what it will be.
  if (absl::Status held = moving() ? absl::OkStatus() : Verify(); !held.ok()) return held;
  if (level != level_) fault_->BeforeLevel(*host_, level, now_ns);
  if (absl::Status set = SetLevels(level); !set.ok()) return set;
  return Verify();
}

}  // namespace faultline
