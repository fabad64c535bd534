// SPDX-License-Identifier: Apache-2.0
//
// Runs on a real systemd: the cpu controller of a target's slice is turned on before the run opens
// and off after it has closed, whatever happens in between, and by nothing else.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/vm/machine_fixture.h"

namespace faultline {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

constexpr char kOn[] = "cat /sys/fs/cgroup/system.slice/cgroup.subtree_control";

class HoldTest : public MachineTest {
 protected:
  void SetUp() override {
    MachineTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    if (!Long()) GTEST_SKIP() << kOnlyLong;
    ASSERT_NE(Boot(), nullptr);
    // As on a machine whose slice has nobody who asks for the controller: our services do.
    Do("for s in agent injector collector; do d=/etc/systemd/system/faultline-$s.service.d; "
       "mkdir -p $d; printf '[Service]\\nCPUQuota=\\nCPUWeight=\\nIOWeight=\\n' > $d/none.conf; "
       "done; systemctl daemon-reload; systemctl restart nginx faultline-collector "
       "faultline-injector faultline-agent");
    Await("faultline status | grep -q connected");
    Await("! " + HasCpu());
  }

  static std::string HasCpu() { return absl::StrCat(kOn, " | grep -qw cpu"); }

  // What systemd knows and keeps of nginx, and what is on for whom.
  std::string Digest() {
    return Do(absl::StrCat(
        "systemctl show nginx -p CPUWeight -p MemoryAccounting -p CPUQuotaPerSecUSec; ", kOn,
        "; cat /sys/fs/cgroup/cgroup.subtree_control; for d in /run/systemd/system.control "
        "/etc/systemd/system.control; do [ -d $d ] || continue; find $d | sort; done; "
        "ls /sys/fs/cgroup/system.slice/nginx.service "
        "/sys/fs/cgroup/system.slice/systemd-journald.service"));
  }
  // As it is when systemd has done what it agreed to.
  void AwaitDigest(const std::string& before) {
    Await("! " + HasCpu());
    EXPECT_EQ(Digest(), before);
    Do("systemctl daemon-reload");
    EXPECT_EQ(Digest(), before);
  }

  // Watches what is on while `command` runs; yields each state that it saw, once in a row.
  std::string Watch(const std::string& command) {
    return Do(
        absl::StrCat("(while [ ! -e /run/watched ]; do ", kOn,
                     "; sleep 0.02; done | uniq > /run/seen) & { ", command,
                     "; } > /dev/null 2>&1; sleep 1; touch /run/watched; wait; rm /run/watched; "
                     "cat /run/seen"));
  }

  Json Run(const std::string& name) {
    const Json all = Json::parse(Do("faultline run list --json"), nullptr, false);
    for (const Json& run : all.value("runs", Json::array())) {
      if (run.value("name", "") == name) return run;
    }
    return {};
  }
};

constexpr char kLimit[] =
    "faultline inject cpu.limit cpus=0.25 --target unit:nginx --for 4s --wait";
constexpr char kSham[] = "faultline inject sham --target unit:nginx --for 2s --wait";

TEST_F(HoldTest, ControllersAreOnBeforeTheRunAndOffAfterIt_WhoeverDies) {
  const std::string before = Digest();
  // Without a run the fault does it, for everybody.
  const std::string alone = Watch(kLimit);
  EXPECT_GE(std::count(alone.begin(), alone.end(), '\n'), 3) << alone;
  AwaitDigest(before);

  std::printf("%s", Do("time faultline run start held --target unit:nginx 2>&1").c_str());
  const std::string held = Digest();
  EXPECT_NE(held, before);
  Do(HasCpu());
  EXPECT_THAT(Do("faultline faults"), HasSubstr("hold.controllers (no fault)"));
  EXPECT_THAT(Do("faultline status"), Not(HasSubstr("hold.controllers")));
  const std::string during = Watch(absl::StrCat(kSham, "; ", kLimit));
  EXPECT_EQ(std::count(during.begin(), during.end(), '\n'), 1) << during;
  EXPECT_EQ(Digest(), held);
  Do("systemctl daemon-reload; systemctl restart nginx; sleep 2");
  EXPECT_EQ(Digest(), held);
  EXPECT_THAT(Do("faultline faults --active"), HasSubstr("hold.controllers (no fault)"));
  std::printf("%s", Do("time faultline run stop held 2>&1").c_str());
  AwaitDigest(before);
  const Json run = Run("held");
  ASSERT_EQ(run.value("targets", Json::array()).size(), 1u) << run.dump();
  EXPECT_EQ(run["targets"][0].value("held", ""), "all") << run.dump();
  EXPECT_TRUE(run["targets"][0]["remark"].is_null()) << run.dump();

  // No fault, in no file; of the run's faults each is there.
  Do("faultline export --run held --out /root/dataset > /dev/null");
  EXPECT_THAT(Do("cat /root/dataset/targets.csv"), HasSubstr(",unit:nginx.service,hold-held-1-"));
  EXPECT_EQ(Do("grep -rlE 'hold.controllers' /root/dataset | sort"), "");
  EXPECT_EQ(Do("tail -n +2 /root/dataset/faults.csv | cut -d , -f 3 | sort -u"),
            "cpu.limit\nsham\n");
  EXPECT_THAT(Do("cat /root/dataset/README.md"), HasSubstr("Target unit:nginx.service on"));

  // The injector dies in the middle of a run.
  Do("faultline run start killed --target unit:nginx");
  Do(absl::StrCat("sleep 4; ", HasCpu(), " && systemctl kill -s KILL faultline-injector"));
  AwaitDigest(before);
  Await("systemctl -q is-active faultline-injector");
  EXPECT_THAT(Do("faultline run stop killed 2>&1"), HasSubstr("the injector died"));
  EXPECT_EQ(Run("killed")["targets"][0].value("held", ""), "part");

  // A fault that is still there when the run ends: the hold ends after it.
  Do("faultline run start long --target unit:nginx");
  Do("faultline inject cpu.limit cpus=0.25 --target unit:nginx --for 15s");
  EXPECT_THAT(Do("faultline run stop long 2>&1"), HasSubstr("it ends after fault"));
  Do(HasCpu());
  AwaitDigest(before);

  // Nobody to hold them: no run.
  Do("systemctl stop faultline-injector");
  EXPECT_THAT(Fail("faultline run start none --target unit:nginx 2>&1"),
              HasSubstr("run none is not opened"));
  EXPECT_TRUE(Run("none").empty());
  EXPECT_EQ(Digest(), before);
}

}  // namespace
}  // namespace faultline
