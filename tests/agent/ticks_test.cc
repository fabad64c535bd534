// SPDX-License-Identifier: Apache-2.0
#include "agent/ticks.h"

#include <gtest/gtest.h>

#include <random>

namespace faultline {
namespace {

constexpr std::int64_t kOffset = 1'790'000'000 * kNsPerSecond + 123;

Instant At(std::int64_t boottime_ns, std::int64_t offset = kOffset) {
  return {boottime_ns, boottime_ns + offset};
}

TEST(TickSchedule, Next_FallsOnMultiplesOfTheWallClock) {
  TickSchedule schedule(kNsPerSecond);
  const TickSchedule::Tick tick = schedule.Next(At(5 * kNsPerSecond));
  EXPECT_EQ((tick.due_boottime_ns + kOffset) % kNsPerSecond, 0);
  EXPECT_EQ(tick.index, (tick.due_boottime_ns + kOffset) / kNsPerSecond);
  EXPECT_GT(tick.due_boottime_ns, 5 * kNsPerSecond);
  const TickSchedule::Tick next = schedule.Next(At(tick.due_boottime_ns + 1000));
  EXPECT_EQ(next.index, tick.index + 1);
  EXPECT_EQ(next.due_boottime_ns, tick.due_boottime_ns + kNsPerSecond);
  EXPECT_EQ(next.skipped, 0);
}

TEST(TickSchedule, Next_AfterAStall_CountsWhatWasMissed) {
  TickSchedule schedule(kNsPerSecond);
  const TickSchedule::Tick first = schedule.Next(At(kNsPerSecond));
  const TickSchedule::Tick late = schedule.Next(At(first.due_boottime_ns + 3'500 * kNsPerMs));
  EXPECT_EQ(late.skipped, 3);
  EXPECT_EQ(late.index, first.index + 4);
  EXPECT_EQ(late.stepped_ns, 0);
}

TEST(TickSchedule, Next_WallClockStepsForward_RealignsAndReports) {
  TickSchedule schedule(kNsPerSecond);
  const TickSchedule::Tick first = schedule.Next(At(kNsPerSecond));
  const std::int64_t step = 3600 * kNsPerSecond + 250 * kNsPerMs;
  const TickSchedule::Tick next = schedule.Next(At(first.due_boottime_ns + 1, kOffset + step));
  EXPECT_EQ(next.stepped_ns, step);
  EXPECT_EQ((next.due_boottime_ns + kOffset + step) % kNsPerSecond, 0);
  EXPECT_EQ(next.skipped, 0);
  EXPECT_GT(next.index, first.index + 3000);
}

TEST(TickSchedule, Next_WallClockStepsBackwards_NeverRepeatsAnIndex) {
  TickSchedule schedule(kNsPerSecond);
  const TickSchedule::Tick first = schedule.Next(At(kNsPerSecond));
  const std::int64_t step = -3600 * kNsPerSecond;
  const TickSchedule::Tick next = schedule.Next(At(first.due_boottime_ns + 1, kOffset + step));
  EXPECT_EQ(next.stepped_ns, step);
  EXPECT_EQ(next.index, first.index + 1);
  EXPECT_EQ(schedule.Next(At(next.due_boottime_ns + 1, kOffset + step)).index, first.index + 2);
}

TEST(TickSchedule, Next_RandomClock_IndexAndTimeOnlyRise) {
  std::mt19937_64 random(7);
  for (const std::int64_t interval : {10 * kNsPerMs, kNsPerSecond, 60 * kNsPerSecond}) {
    TickSchedule schedule(interval);
    std::int64_t now = 100 * kNsPerSecond;
    std::int64_t offset = kOffset;
    TickSchedule::Tick last = schedule.Next(At(now, offset));
    for (int i = 0; i < 20'000; ++i) {
      now = last.due_boottime_ns + static_cast<std::int64_t>(random() % 100'000);
      if (random() % 10 == 0) now += static_cast<std::int64_t>(random() % 5) * interval;
      if (random() % 4 == 0) offset += static_cast<std::int64_t>(random() % 2001) - 1000;
      if (random() % 50 == 0) {
        offset += (static_cast<std::int64_t>(random() % 41) - 20) * interval / 3;
      }
      const TickSchedule::Tick tick = schedule.Next(At(now, offset));
      ASSERT_GT(tick.index, last.index);
      ASSERT_GT(tick.due_boottime_ns, last.due_boottime_ns);
      // Never further ahead than the next tick but one.
      ASSERT_LE(tick.due_boottime_ns - now, 2 * interval);
      last = tick;
    }
  }
}

}  // namespace
}  // namespace faultline
