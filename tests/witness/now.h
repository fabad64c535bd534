// SPDX-License-Identifier: Apache-2.0
//
// A witness's own clock: CLOCK_BOOTTIME, as the labels have it. Witnesses take nothing from
// Faultline, so that what they say cannot be wrong in the same way.
#pragma once

#include <cerrno>
#include <cstdint>
#include <ctime>

namespace faultline::witness {

constexpr std::int64_t kMs = 1'000'000;
constexpr std::int64_t kSecond = 1'000'000'000;

inline std::int64_t ToNs(const timespec& time) { return time.tv_sec * kSecond + time.tv_nsec; }

inline std::int64_t NowNs() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return ToNs(now);
}

// Sleeps until CLOCK_BOOTTIME is `at_ns`; a signal does not shorten it.
inline void SleepUntilNs(std::int64_t at_ns) {
  const timespec until{at_ns / kSecond, at_ns % kSecond};
  while (::clock_nanosleep(CLOCK_BOOTTIME, TIMER_ABSTIME, &until, nullptr) == EINTR) {
  }
}

inline void SleepForMs(std::int64_t ms) { SleepUntilNs(NowNs() + ms * kMs); }

// Wakes the calling thread as exactly as this host allows: no timer slack, and before others. What
// it forks is an ordinary process again.
void BePunctual();

}  // namespace faultline::witness
