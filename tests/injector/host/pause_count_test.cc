// SPDX-License-Identifier: Apache-2.0
#include "injector/host/pause_count.h"

#include <gtest/gtest.h>

namespace faultline {
namespace {

TEST(PauseCount, SumsThePulses) {
  PauseCount count;
  count.See(50, true);
  EXPECT_EQ(count.ToEvidence().dose[0].value(), 0);
  count.Begin(100, 5);
  count.See(110, true);
  EXPECT_EQ(count.ToEvidence().dose[0].value(), 10);
  EXPECT_EQ(count.ToEvidence().error_ns, 5);
  count.End(130, 3);
  EXPECT_EQ(count.ToEvidence().error_ns, 3);
  count.See(140, true);
  EXPECT_EQ(count.ToEvidence().dose[0].value(), 30);
  EXPECT_EQ(count.ToEvidence().last_touch_ns, 130);
  count.Begin(200, 1);
  count.See(220, true);
  EXPECT_EQ(count.ToEvidence().dose[0].value(), 50);
  EXPECT_EQ(count.ToEvidence().first_touch_ns, 100);
  EXPECT_EQ(count.ToEvidence().last_touch_ns, 220);
}

// Nor does it begin before a look that found a task.
TEST(PauseCount, AnEmptyGroupIsNoDose) {
  PauseCount count;
  count.Begin(100, 5);
  count.See(110, false);
  count.See(150, true);
  EXPECT_EQ(count.ToEvidence().first_touch_ns, 150);
  EXPECT_EQ(count.ToEvidence().error_ns, 40);
  count.See(160, true);
  count.See(170, false);
  count.See(190, true);
  count.See(195, true);
  EXPECT_EQ(count.ToEvidence().dose[0].value(), 15);
  count.See(200, false);
  count.End(300, 7);
  EXPECT_EQ(count.ToEvidence().dose[0].value(), 15);
  EXPECT_EQ(count.ToEvidence().last_touch_ns, 195);
  // It ended nothing.
  EXPECT_EQ(count.ToEvidence().error_ns, 20);
}

}  // namespace
}  // namespace faultline
