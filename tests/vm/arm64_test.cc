// SPDX-License-Identifier: Apache-2.0
//
// The cross built packages on an arm64 machine: installed by dpkg they measure as a service, and a
// fault of the control groups and one of BPF have their effect and leave nothing. The kernels that
// arm64 users have are in kernel_test.cc.
#include <gmock/gmock.h>

#include "absl/strings/str_cat.h"
#include "tests/vm/machine_fixture.h"

namespace faultline {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

class Arm64Test : public MachineTest {
 protected:
  void SetUp() override {
    MachineTest::SetUp();
    if (!IsSkipped() && Guest::ImageDir("arm64").empty()) {
      GTEST_SKIP() << "no image for arm64: ./run vm --long makes it";
    }
  }
};

TEST_F(Arm64Test, PackagesMeasureAndDisturb) {
  Guest::Options options;
  options.arch = "arm64";
  Machine* const machine = BootBare(options);
  ASSERT_NE(machine, nullptr);
  EXPECT_EQ(Do("uname -m"), "aarch64\n");
  Do("dpkg -i /mnt/*.deb");
  Do("echo 'enabled: true' >> /etc/faultline/injector.yaml");
  Do("systemctl start nginx faultline-injector");
  Await("faultline status | grep -q connected");

  const std::string check = Do("faultline-agent --check 2> /dev/null");
  std::printf("%s", check.substr(check.rfind('\n', check.size() - 2) + 1).c_str());
  // What it lacks there is hardware counters and statistics that the administrator switches on.
  EXPECT_THAT(check, HasSubstr(" 0 degraded"));
  EXPECT_THAT(check, ContainsRegex("available +cpu.cpu_busy_ns +tp_btf/sched_switch"));
  EXPECT_THAT(check, Not(HasSubstr("missing    cgroup.")));
  // As a service, in its sandbox, too.
  EXPECT_THAT(Do("faultline status --json"), Not(HasSubstr("CAP_BPF")));

  Do("systemd-run -q --unit=busy sh -c 'while :; do :; done'");
  const std::string before = machine->Digest();
  EXPECT_THAT(
      Do(absl::StrCat(kRoot, "inject cpu.limit --target unit:busy --for 5s --wait cpus=0.25")),
      ContainsRegex("undone(.|\n)*throttled periods [1-9]"));
  EXPECT_EQ(machine->Digest(), before);

  // With none of its packets in, nginx takes no connection.
  const std::string connect = "timeout 3 bash -c 'exec 3<> /dev/tcp/127.0.0.1/80'";
  Do(connect);
  Do(absl::StrCat(kRoot, "inject net.loss --target ", kTarget,
                  " --for 20s --wait loss=100% direction=in > /root/loss 2>&1 & "
                  "until bpftool link | grep -q cgroup_inet_ingress; do sleep 0.1; done"));
  Fail(connect);
  Await("grep -q 'packets dropped' /root/loss");
  EXPECT_THAT(Do("cat /root/loss"), ContainsRegex("undone(.|\n)*packets dropped [1-9]"));
  Do(connect);
  EXPECT_EQ(machine->Digest(), before);
}

}  // namespace
}  // namespace faultline
