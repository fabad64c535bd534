// SPDX-License-Identifier: Apache-2.0
//
// A clock that moves only when told, or straight to whatever is waited for. Thread-safe.
#pragma once

#include <condition_variable>
#include <mutex>

#include "base/clock.h"

namespace faultline {

class FakeClock final : public Clock {
 public:
  // `jump`: WaitUntil moves the time instead of blocking.
  explicit FakeClock(bool jump = false) : jump_(jump) {}

  Instant Now() override {
    const std::lock_guard lock(mutex_);
    return {boottime_ns_, boottime_ns_ + realtime_offset_ns_};
  }

  bool WaitUntil(std::int64_t boottime_ns, const std::stop_token& stop) override {
    std::unique_lock lock(mutex_);
    if (jump_) {
      if (boottime_ns_ < boottime_ns) boottime_ns_ = boottime_ns;
      return !stop.stop_requested();
    }
    moved_.wait(lock, stop, [&] { return boottime_ns_ >= boottime_ns; });
    return !stop.stop_requested();
  }

  void Advance(std::int64_t ns) {
    const std::lock_guard lock(mutex_);
    boottime_ns_ += ns;
    moved_.notify_all();
  }

  // Of another boot from now on, a moment old; the wall clock goes on. Nobody may wait.
  void Reboot() {
    const std::lock_guard lock(mutex_);
    realtime_offset_ns_ += boottime_ns_ - kNsPerSecond;
    boottime_ns_ = kNsPerSecond;
  }

  // A step of the wall clock.
  void StepRealtime(std::int64_t ns) {
    const std::lock_guard lock(mutex_);
    realtime_offset_ns_ += ns;
  }

 private:
  const bool jump_;
  std::mutex mutex_;
  std::condition_variable_any moved_;
  std::int64_t boottime_ns_ = 1'000 * kNsPerSecond;
  std::int64_t realtime_offset_ns_ = 1'790'000'000 * kNsPerSecond;
};

}  // namespace faultline
