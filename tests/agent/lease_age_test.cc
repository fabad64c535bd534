// SPDX-License-Identifier: Apache-2.0
#include "agent/uplink/lease_age.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "base/clock.h"

namespace faultline {
namespace {

constexpr std::int64_t kTtlNs = 9 * kNsPerSecond;
// The collector's clock counts from elsewhere.
constexpr std::int64_t kCollectorNs = 5'000'000 * kNsPerSecond;

// Sent at `at_ns`; by then the collector had read, `read_ns`, what the node had sent at `heard_ns`.
// All on the node's clock.
v1::Lease SentAt(std::int64_t at_ns, std::int64_t heard_ns, std::int64_t read_ns) {
  v1::Lease lease;
  lease.set_ttl_ns(kTtlNs);
  lease.set_sent_boottime_ns(kCollectorNs + at_ns);
  lease.set_heard_sent_boottime_ns(heard_ns);
  lease.set_heard_read_boottime_ns(kCollectorNs + read_ns);
  return lease;
}

// What the node sent half a second before had come at once.
v1::Lease SentAt(std::int64_t at_ns) {
  return SentAt(at_ns, at_ns - kNsPerSecond / 2, at_ns - kNsPerSecond / 2);
}

TEST(LeaseAge, ThatComesAtOnce_StandsInFull) {
  LeaseAge age;
  for (int i = 1; i < 10; ++i) {
    const std::int64_t at_ns = 3 * kNsPerSecond * i;
    EXPECT_EQ(age.Left(SentAt(at_ns), at_ns), kTtlNs) << i;
  }
}

TEST(LeaseAge, ThatWasHeldUp_StandsForLess) {
  LeaseAge age;
  EXPECT_EQ(age.Left(SentAt(kNsPerSecond), kNsPerSecond), kTtlNs);
  // A link stalls for 10 s, and the four of that time come at once.
  EXPECT_EQ(age.Left(SentAt(3 * kNsPerSecond), 13 * kNsPerSecond), 0);
  EXPECT_EQ(age.Left(SentAt(6 * kNsPerSecond), 13 * kNsPerSecond), 2 * kNsPerSecond);
  EXPECT_EQ(age.Left(SentAt(12 * kNsPerSecond), 13 * kNsPerSecond), 8 * kNsPerSecond);
  EXPECT_EQ(age.Left(SentAt(15 * kNsPerSecond), 15 * kNsPerSecond), kTtlNs);
}

// Each way takes the same from the first message on, so that none is quicker than the others.
TEST(LeaseAge, OnALinkThatIsSlowFromTheBeginning_StandsForNoMoreThanIsLeft) {
  for (const std::int64_t way_ns :
       {kNsPerSecond, 2 * kNsPerSecond, 4 * kNsPerSecond, 5 * kNsPerSecond, 60 * kNsPerSecond}) {
    LeaseAge age;
    for (std::int64_t at_ns = way_ns + kNsPerSecond; at_ns < 300 * kNsPerSecond;
         at_ns += 3 * kNsPerSecond) {
      const std::int64_t left_ns = age.Left(SentAt(at_ns, at_ns - way_ns, at_ns), at_ns + way_ns);
      EXPECT_EQ(left_ns, std::max<std::int64_t>(0, kTtlNs - 2 * way_ns)) << way_ns;
    }
  }
}

// The way up has a backlog; what was read before it tells how the clocks compare.
TEST(LeaseAge, OfACollectorThatIsFarBehindInReading_IsNotTakenForOld) {
  LeaseAge age;
  EXPECT_EQ(age.Left(SentAt(kNsPerSecond), kNsPerSecond), kTtlNs);
  for (std::int64_t at_ns = 60 * kNsPerSecond; at_ns < 180 * kNsPerSecond;
       at_ns += 3 * kNsPerSecond) {
    EXPECT_EQ(age.Left(SentAt(at_ns, at_ns - 50 * kNsPerSecond, at_ns), at_ns), kTtlNs);
  }
}

TEST(LeaseAge, WhateverTheLinkDoes_NeverStandsLongerThanItDoes) {
  std::mt19937_64 random(7);
  const auto way = [&random] {
    const auto most_ns = static_cast<std::uint64_t>(random() % 4 == 0 ? 20 : 1) * kNsPerSecond;
    return static_cast<std::int64_t>(random() % most_ns);
  };
  for (int stream = 0; stream < 200; ++stream) {
    LeaseAge age;
    const std::int64_t slow_ns = way();
    std::int64_t read_ns = 0;
    for (std::int64_t at_ns = 60 * kNsPerSecond; at_ns < 400 * kNsPerSecond;
         at_ns += 3 * kNsPerSecond) {
      read_ns = std::max(read_ns, at_ns + slow_ns + way());
      const std::int64_t heard_ns = at_ns - way() / 4;
      const std::int64_t left_ns =
          age.Left(SentAt(at_ns, heard_ns - slow_ns - way(), heard_ns), read_ns);
      ASSERT_LE(left_ns, std::max<std::int64_t>(0, kTtlNs - (read_ns - at_ns)));
    }
  }
}

TEST(LeaseAge, ClocksThatDrift_DoNotUseItUp) {
  LeaseAge age;
  // A day, with 100 ppm between the two.
  for (std::int64_t at_ns = kNsPerSecond; at_ns < 24 * 3600 * kNsPerSecond;
       at_ns += 3 * kNsPerSecond) {
    const std::int64_t here_ns = at_ns + at_ns / 10'000;
    ASSERT_GE(age.Left(SentAt(at_ns, here_ns, at_ns), here_ns), kTtlNs - 100 * kNsPerMs) << at_ns;
  }
  for (std::int64_t at_ns = 24 * 3600 * kNsPerSecond; at_ns < 48 * 3600 * kNsPerSecond;
       at_ns += 3 * kNsPerSecond) {
    const std::int64_t here_ns = at_ns - at_ns / 10'000;
    ASSERT_GE(age.Left(SentAt(at_ns, here_ns, at_ns), here_ns), kTtlNs - 100 * kNsPerMs) << at_ns;
  }
}

// The node's machine is saved and restored a minute later: its clock knows nothing of that minute.
TEST(LeaseAge, AfterAClockStoodStill_IsByWhatIsNew) {
  constexpr std::int64_t kStoodNs = 60 * kNsPerSecond;
  LeaseAge age;
  EXPECT_EQ(age.Left(SentAt(kNsPerSecond), kNsPerSecond), kTtlNs);
  const auto left = [&age](std::int64_t at_ns, std::int64_t way_ns) {
    return age.Left(SentAt(at_ns + kStoodNs, at_ns, at_ns + kStoodNs), at_ns + way_ns);
  };
  EXPECT_EQ(left(4 * kNsPerSecond, 0), kTtlNs);
  EXPECT_EQ(left(7 * kNsPerSecond, 5 * kNsPerSecond), kTtlNs - 5 * kNsPerSecond);
}

TEST(LeaseAge, OfACollectorThatHasHeardNothing_IsNotKnown) {
  LeaseAge age;
  v1::Lease lease;
  lease.set_ttl_ns(kTtlNs);
  EXPECT_EQ(age.Left(lease, kNsPerSecond), 0);
}

}  // namespace
}  // namespace faultline
