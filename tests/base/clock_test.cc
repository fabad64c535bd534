// SPDX-License-Identifier: Apache-2.0
#include "base/clock.h"

#include <gtest/gtest.h>

#include <thread>

namespace faultline {
namespace {

TEST(SystemClock_WaitUntil, ReachesATimeThatIsPastOrNear) {
  Clock& clock = Clock::System();
  const std::int64_t start = clock.Now().boottime_ns;
  EXPECT_TRUE(clock.WaitUntil(start - 5, {}));
  EXPECT_TRUE(clock.WaitUntil(start + 2 * kNsPerMs, {}));
  EXPECT_GE(clock.Now().boottime_ns, start + 2 * kNsPerMs);
}

TEST(SystemClock_WaitUntil, EndsEarlyWhenStopped) {
  Clock& clock = Clock::System();
  std::stop_source stop;
  std::jthread stopper([&] { stop.request_stop(); });
  EXPECT_FALSE(clock.WaitUntil(clock.Now().boottime_ns + 3600 * kNsPerSecond, stop.get_token()));
}

}  // namespace
}  // namespace faultline
