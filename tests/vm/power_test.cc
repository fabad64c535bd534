// SPDX-License-Identifier: Apache-2.0
//
// Whatever becomes of the machine, no fault outlives it. guest_faults.cc starts them in the guest.
#include <gmock/gmock.h>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/vm/machine_fixture.h"

namespace faultline {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
using ::testing::HasSubstr;

class PowerTest : public MachineTest {};

TEST_F(PowerTest, Cut_TheJournalIsClosedAtBoot) {
  Machine* const machine = Boot({}, {"guest_faults"});
  ASSERT_NE(machine, nullptr);
  Do(PrepareFaults());
  const std::string before = Do("bash /root/digest");
  const int cycles = Long() ? 10 : 3;
  const std::string program = absl::StrCat(Guest::kFiles, "/guest_faults ");
  for (int cycle = 0; cycle < cycles && !HasFailure(); ++cycle) {
    const std::string ids = Do(absl::StrCat(program, "start 300"));
    // The digest sees each kind of fault.
    EXPECT_THAT(Do("bash /root/digest"),
                AllOf(HasSubstr("t2.service/cpu.max:30000 100000"), HasSubstr("faultline-hold"),
                      HasSubstr("t4.service/cgroup.freeze:1"), HasSubstr("cgroup_inet_ingress"),
                      HasSubstr("rate 1Mbit"), HasSubstr("delay 50ms"),
                      HasSubstr("t7.service/memory.max:67108864")));
    // Of a host whose injector is not started at boot the journal is closed all the same.
    const bool without = cycle == 1;
    if (without) Do("systemctl disable faultline-injector 2> /dev/null; sync");
    machine->guest().CutPower();
    ASSERT_TRUE(machine->guest().Start().ok());
    if (without) {
      Await("[ $(systemctl show -P ExecMainExitTimestampMonotonic faultline-undo-boot) != 0 ]");
      const std::string said = Do("journalctl --sync; journalctl -b -u faultline-undo-boot -o cat");
      for (const auto id : absl::StrSplit(ids, ' ')) {
        EXPECT_THAT(said, ContainsRegex(absl::StrCat(absl::StripAsciiWhitespace(id),
                                                     " [^\n]* undone, reboot")));
      }
      Fail("systemctl -q is-active faultline-injector");
      Do("systemctl enable --now faultline-injector 2> /dev/null; sync");
    }
    Await("systemctl -q is-active faultline-injector");
    Do(absl::StrCat(program, "closed reboot ", ids));
    EXPECT_EQ(Do("bash /root/digest"), before);
  }
}

}  // namespace
}  // namespace faultline
