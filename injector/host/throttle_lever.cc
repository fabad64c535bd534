// SPDX-License-Identifier: Apache-2.0
#include "injector/host/throttle_lever.h"

#include <utility>

#include "base/log.h"

namespace faultline {
namespace {

constexpr char kGone[] = "the programs that saw it ended with their process";

class ThrottleLever final : public Lever {
 public:
  ThrottleLever(std::unique_ptr<ThrottleWatch> watch, Clock* clock, v1::Change change)
      : watch_(std::move(watch)), clock_(clock), change_(std::move(change)) {}

  const v1::Change& change() const override { return change_; }

  absl::Status Apply() override {
    if (watch_ == nullptr) return absl::FailedPreconditionError(kGone);
    attached_ = watch_->Attach();
    if (!attached_.ok()) LogWarning(attached_.message());
    return absl::OkStatus();
  }
  // It sees every level.
  absl::Status SetLevel(double /*level*/) override { return absl::OkStatus(); }

  absl::Status Verify() override {
    return watch_ == nullptr ? absl::AbortedError(kGone) : absl::OkStatus();
  }
  // Whatever ended it says nothing of the limit.
  Ended OverBy(std::int64_t /*deadline_ns*/) override { return {0, 0}; }

  absl::Status Restore() override {
    if (watch_ != nullptr) watch_->Detach();
    return absl::OkStatus();
  }
  absl::Status Residue() override { return absl::OkStatus(); }

  Evidence Measure() override {
    Evidence evidence;
    const absl::StatusOr<fault_throttle> seen = Read();
    if (!seen.ok()) {
      evidence.missing = std::string(seen.status().message());
      return evidence;
    }
    evidence.first_touch_ns = static_cast<std::int64_t>(seen->first_ns);
    evidence.last_touch_ns = static_cast<std::int64_t>(seen->last_ns);
    if (seen->holds > seen->releases) evidence.last_touch_ns = clock_->Now().boottime_ns;
    return evidence;
  }

 private:
  absl::StatusOr<fault_throttle> Read() const {
    if (watch_ == nullptr) return absl::FailedPreconditionError(kGone);
    if (!attached_.ok()) return attached_;
    return watch_->Read();
  }

  // Null when recovered.
  const std::unique_ptr<ThrottleWatch> watch_;
  Clock* const clock_;
  const v1::Change change_;
  absl::Status attached_ = absl::OkStatus();
};

}  // namespace

LeverOr MakeThrottleLever(Throttling* throttling, Clock* clock, const std::string& cgroup) {
  absl::StatusOr<std::unique_ptr<ThrottleWatch>> watch = throttling->Watch(cgroup);
  if (!watch.ok()) return watch.status();
  v1::Change change;
  change.set_kind(kWatchKind);
  change.set_object(cgroup);
  change.set_attribute("throttling of its run queues");
  change.set_after("BPF programs on sched_switch and sched_wakeup");
  return std::make_unique<ThrottleLever>(*std::move(watch), clock, std::move(change));
}

LeverOr RecoverThrottleLever(const v1::Change& change) {
  return std::make_unique<ThrottleLever>(nullptr, nullptr, change);
}

}  // namespace faultline
