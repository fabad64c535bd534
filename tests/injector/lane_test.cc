// SPDX-License-Identifier: Apache-2.0
#include "injector/lane.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "absl/synchronization/notification.h"

namespace faultline {
namespace {

TEST(Lane, DoesOneThingAfterTheOther_AndAllBeforeItEnds) {
  std::vector<int> done;
  {
    Lane lane;
    for (int i = 0; i < 100; ++i) {
      ASSERT_TRUE(lane.Post([&done, i] { done.push_back(i); }).ok());
    }
  }
  ASSERT_EQ(done.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(done[static_cast<size_t>(i)], i);
}

TEST(Lane, RefusesWhatComesWhenTooMuchWaits_ButNoEnd) {
  absl::Notification entered;
  absl::Notification go;
  int done = 0;
  {
    Lane lane;
    ASSERT_TRUE(lane.Post([&] {
                      entered.Notify();
                      go.WaitForNotification();
                    })
                    .ok());
    entered.WaitForNotification();
    for (size_t i = 0; i < Lane::kMost; ++i) ASSERT_TRUE(lane.Post([&] { ++done; }).ok());
    const absl::Status refused = lane.Post([&] { done += 1000; });
    EXPECT_TRUE(absl::IsResourceExhausted(refused));
    EXPECT_THAT(std::string(refused.message()), ::testing::HasSubstr("try again later"));
    lane.PostEnd([&] { ++done; });
    go.Notify();
  }
  EXPECT_EQ(done, static_cast<int>(Lane::kMost) + 1);
}

}  // namespace
}  // namespace faultline
