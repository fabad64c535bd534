// SPDX-License-Identifier: Apache-2.0
//
// What the kernel tests leave out on the machine of a developer: what would take all of its memory,
// what needs a systemd, and what its kernel may lack.
#include <gmock/gmock.h>

#include "absl/strings/str_cat.h"
#include "tests/vm/machine_fixture.h"

namespace faultline {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

class HostTest : public MachineTest {};

TEST_F(HostTest, ReclaimAndScopesOfAWholeMachine) {
  if (!Long()) GTEST_SKIP() << kOnlyLong;
  ASSERT_NE(Boot({}, {"bpf_metric_tests"}), nullptr);
  const std::string said =
      Do(absl::StrCat("FAULTLINE_WHOLE_MACHINE=1 ", Guest::kFiles,
                      "/bpf_metric_tests --gtest_filter='MemoryMetric.DirectReclaim*'"));
  EXPECT_THAT(said, HasSubstr("[  PASSED  ] 1 test."));
  EXPECT_THAT(said, Not(HasSubstr("SKIPPED")));

  // exec asks systemd for a scope.
  EXPECT_THAT(Do("faultline exec --cgroup scoped -- cat /proc/self/cgroup"),
              HasSubstr("0::/system.slice/faultline-scoped.scope"));
  Do("faultline exec --cgroup scoped -- sleep 10 > /dev/null 2>&1 & echo $! > /root/exec");
  Await("[ -d /sys/fs/cgroup/system.slice/faultline-scoped.scope ]");
  EXPECT_EQ(Do("systemctl show -P Delegate faultline-scoped.scope; "
               "cat /sys/fs/cgroup/system.slice/faultline-scoped.scope/cpu.max"),
            "yes\nmax 100000\n");
  Await("! [ -d /proc/$(cat /root/exec) ]");
  EXPECT_EQ(Do("faultline exec --cgroup scoped -- sh -c 'exit 7' 2> /dev/null; echo $?"), "7\n");
  // Nothing of it stays.
  Do("! systemctl -q is-active faultline-scoped.scope && "
     "! [ -d /sys/fs/cgroup/system.slice/faultline-scoped.scope ]");
}

// By packets of their own, between two network namespaces: by the levers alone, and by the injector
// with its labels and doses; the injector killed under them; and, with --long, beside what somebody
// else has set up, where a developer's kernel has no netem to try it with.
TEST_F(HostTest, PacketsAreDelayed) {
  ASSERT_NE(Boot({}, {"net_delay_test", "truth_tests", "fault_tests"}), nullptr);
  const auto expect_passed = [this](const std::string& command, const char* count) {
    const std::string said = Do(command);
    EXPECT_THAT(said, HasSubstr(absl::StrCat("[  PASSED  ] ", count, " test")));
    EXPECT_THAT(said, Not(HasSubstr("SKIPPED")));
    std::printf("%s", said.c_str());
  };
  expect_passed(absl::StrCat(Guest::kFiles, "/net_delay_test"), "6");
  const std::string installed =
      absl::StrCat("FAULTLINE_INJECTOR=/usr/sbin/faultline-injector ", Guest::kFiles);
  expect_passed(
      absl::StrCat(installed,
                   "/truth_tests --gtest_filter='*.OfNetDelay:*BesideADelay:*/net_delay_*'"),
      "5");
  expect_passed(absl::StrCat(installed, "/fault_tests --gtest_filter='Recovery.OfNetDelay_*'"),
                "1");
  if (!Long()) return;
  expect_passed(absl::StrCat(installed, "/fault_tests --gtest_filter='Table/ForeignNetwork.*'"),
                "6");
}

}  // namespace
}  // namespace faultline
