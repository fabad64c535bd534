// SPDX-License-Identifier: Apache-2.0
#include "injector/host/unit_quota.h"

#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"

namespace faultline {
namespace {

TEST(UnitQuota, MakesWhatSystemdMakes) {
  struct Case {
    UnitQuota quota;
    const char* cpu_max;
  };
  // By systemd 252 in a guest: `systemctl set-property --runtime ...; cat cpu.max`.
  constexpr Case kCases[] = {
      {{kUnitInfinity, kUnitInfinity}, "max 100000"}, {{kUnitInfinity, 50'000}, "max 100000"},
      {{250'000, kUnitInfinity}, "25000 100000"},     {{250'000, 50'000}, "12500 50000"},
      {{2'000'000, 10'000}, "20000 10000"},           {{10'000, 10'000}, "1000 100000"},
      {{500'000, 5'000'000}, "500000 1000000"},       {{500'000, 100}, "1000 2000"},
  };
  for (const Case& at : kCases) EXPECT_EQ(CpuMaxOf(at.quota), at.cpu_max);
}

TEST(UnitQuota, FindsAQuotaForEveryValueThatTheKernelTakes) {
  for (const std::uint64_t period : {1'000u, 3'001u, 30'000u, 99'999u, 100'000u, 1'000'000u}) {
    for (const std::uint64_t quota : {1'000u, 1'001u, 10'001u, 33'333u, 640'000u}) {
      const std::string wanted = absl::StrCat(quota, " ", period);
      const std::optional<UnitQuota> found = QuotaFor(wanted, {});
      ASSERT_TRUE(found.has_value()) << wanted;
      EXPECT_EQ(CpuMaxOf(*found), wanted);
      // The period that is in force is kept where it will do: 1 ms a second makes systemd take 1 s.
      EXPECT_TRUE(found->period_us == period || found->period_us == kUnitInfinity);
      EXPECT_EQ(found->period_us == kUnitInfinity, CpuMaxOf({found->per_second_us}) == wanted);
    }
  }
  EXPECT_EQ(QuotaFor("max 100000", {250'000, 50'000})->period_us, 50'000u);
  // 0.5 ms of a period is less than systemd gives.
  for (const char* none : {"", "max", "x 100000", "500 100000", "max 50000", "1000 0"}) {
    EXPECT_FALSE(QuotaFor(none, {}).has_value()) << none;
  }
}

TEST(UnitQuota, WritesTheLinesThatSystemdWrites) {
  EXPECT_EQ(QuotaLine(kUnitInfinity), "CPUQuota=");
  EXPECT_EQ(QuotaLine(250'000), "CPUQuota=25%");
  EXPECT_EQ(QuotaLine(259'999), "CPUQuota=25%");
  EXPECT_EQ(QuotaAfterReload(259'999), 250'000u);
  EXPECT_EQ(QuotaAfterReload(kUnitInfinity), kUnitInfinity);
  EXPECT_EQ(PeriodLine(kUnitInfinity), "CPUQuotaPeriodSec=");
  EXPECT_EQ(PeriodLine(100'000), "CPUQuotaPeriodSec=100ms");
  EXPECT_EQ(PeriodLine(12'500), "CPUQuotaPeriodSec=12.500ms");
  EXPECT_EQ(PeriodLine(1'000'000), "CPUQuotaPeriodSec=1s");
}

}  // namespace
}  // namespace faultline
