// SPDX-License-Identifier: Apache-2.0
//
// Time, injected everywhere so that tests can run a day in a second. Everything is ordered by
// CLOCK_BOOTTIME, which counts suspend and never steps; real time is only a second stamp on the
// same instant. Thread-safe.
#pragma once

#include <cstdint>
#include <stop_token>

namespace faultline {

constexpr std::int64_t kNsPerMs = 1'000'000;
constexpr std::int64_t kNsPerSecond = 1'000'000'000;

// One instant on both clocks, nanoseconds.
struct Instant {
  std::int64_t boottime_ns = 0;
  std::int64_t realtime_ns = 0;
};

class Clock {
 public:
  virtual ~Clock() = default;

  // The two clocks are read within a microsecond of each other.
  virtual Instant Now() = 0;

  // Blocks until CLOCK_BOOTTIME reaches `boottime_ns` or `stop` is requested; true if the time was
  // reached. A time in the past returns at once.
  virtual bool WaitUntil(std::int64_t boottime_ns, const std::stop_token& stop) = 0;

  // The machine's clocks; lives for ever.
  static Clock& System();
};

}  // namespace faultline
