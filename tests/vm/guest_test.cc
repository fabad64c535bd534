// SPDX-License-Identifier: Apache-2.0
//
// What boots the machines, where the scenarios themselves do not try it.
#include <gmock/gmock.h>

#include "base/clock.h"
#include "tests/vm/machine_fixture.h"

namespace faultline {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class GuestTest : public MachineTest {};

// One that hangs once in many runs has to say where.
TEST_F(GuestTest, OneThatDoesNotAnswer_SaysWhatItDoes) {
  if (!Long()) GTEST_SKIP() << kOnlyLong;
  Machine* const machine = Boot({});
  ASSERT_NE(machine, nullptr);
  Guest& guest = machine->guest();
  EXPECT_EQ(guest.Run("exec sleep 100", kNsPerSecond).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(Slurp(guest.console()),
              AllOf(HasSubstr("Kernel panic"), HasSubstr("task:sleep"), HasSubstr("nanosleep")));
  EXPECT_EQ(guest.Run("true", kNsPerSecond).status().code(), absl::StatusCode::kUnavailable);
  ASSERT_TRUE(guest.Start().ok());
  EXPECT_EQ(machine->Do("echo again"), "again\n");
}

}  // namespace
}  // namespace faultline
