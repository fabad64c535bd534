// SPDX-License-Identifier: Apache-2.0
#include "injector/host/leak.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace faultline {
namespace {

constexpr const char* kMeminfo =
    "MemTotal:       10000 kB\nMemFree:         100 kB\nMemAvailable:    3000 kB\n";

TEST(HeadRoom, LeavesATenthOfTheHost) {
  EXPECT_TRUE(CheckHeadRoom(kMeminfo, 0).ok());
  EXPECT_TRUE(CheckHeadRoom(kMeminfo, std::int64_t{2000} * 1024).ok());
  const absl::Status refused = CheckHeadRoom(kMeminfo, std::int64_t{2000} * 1024 + 1);
  EXPECT_TRUE(absl::IsFailedPrecondition(refused));
  EXPECT_THAT(std::string(refused.message()), ::testing::HasSubstr("hold at most 1.9 MiB"));
}

// The host still shows what they do not hold yet.
TEST(HeadRoom, IsNotGrantedTwice) {
  constexpr std::int64_t kOther = std::int64_t{1500} * 1024;
  EXPECT_TRUE(CheckHeadRoom(kMeminfo, std::int64_t{500} * 1024, {.percent = 10}, kOther).ok());
  const absl::Status refused =
      CheckHeadRoom(kMeminfo, std::int64_t{500} * 1024 + 1, {.percent = 10}, kOther);
  EXPECT_TRUE(absl::IsFailedPrecondition(refused));
  EXPECT_THAT(std::string(refused.message()),
              ::testing::HasSubstr("other leaks are to take 1.4 MiB more: hold at most 500 KiB"));
  EXPECT_FALSE(CheckHeadRoom(kMeminfo, 1, {.percent = 10}, INT64_MAX).ok());
}

TEST(SpellBytes, RoundsDownToATenth) {
  EXPECT_EQ(SpellBytes(0), "0 B");
  EXPECT_EQ(SpellBytes(1023), "1023 B");
  EXPECT_EQ(SpellBytes(1024), "1 KiB");
  EXPECT_EQ(SpellBytes((std::int64_t{1} << 30) - 1), "1023.9 MiB");
  EXPECT_EQ(SpellBytes(19972398695), "18.6 GiB");
  EXPECT_EQ(SpellBytes(INT64_MAX), "8388607.9 TiB");
}

TEST(HeadRoom, IsUnknown_WithoutItsFields) {
  EXPECT_FALSE(CheckHeadRoom("MemTotal: 10000 kB\n", 0).ok());
  EXPECT_FALSE(CheckHeadRoom("", 0).ok());
}

}  // namespace
}  // namespace faultline
