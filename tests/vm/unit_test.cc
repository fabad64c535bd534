// SPDX-License-Identifier: Apache-2.0
//
// Faults on units of a real systemd: the value is systemd's and stays over a reload, whoever takes
// it away is seen within a second, and whatever dies in between, the unit and the folders of its
// drop-ins end as they were.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "base/clock.h"
#include "tests/vm/machine_fixture.h"

namespace faultline {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

constexpr char kMax[] = "cat /sys/fs/cgroup/system.slice/nginx.service/cpu.max";
constexpr char kServicePid[] = "systemctl show -P MainPID faultline-injector";
constexpr char kCommand[] = "/usr/bin/faultline --injector unix:/run/faultline/root.sock ";

class UnitTest : public MachineTest {
 protected:
  void SetUp() override {
    MachineTest::SetUp();
    if (IsSkipped() || HasFatalFailure()) return;
    machine_ = Boot();
    ASSERT_NE(machine_, nullptr);
    // The injector is started by hand below, where it is killed, with another state than the
    // service's.
    Do("systemctl start nginx");
  }

  void StartInjector() {
    Do("setsid sh -c 'echo $$ > /run/injector.pid; "
       "exec faultline-injector --state-dir /var/lib/faultline-test' >> /var/log/injector 2>&1 & "
       "until /usr/bin/faultline --injector unix:/run/faultline/root.sock status > /dev/null 2>&1; "
       "do sleep 0.1; done");
  }
  // The injector alone: its keeper is another process of that name. `pid` is what prints the id.
  void KillInjector(const std::string& pid = "cat /run/injector.pid") {
    Do(absl::StrCat("pid=$(", pid,
                    ") && [ $pid -gt 1 ] && kill -9 $pid && "
                    "while [ -d /proc/$pid ]; do sleep 0.01; done"));
  }

  // All that systemd knows and keeps of the units.
  std::string Digest() {
    return Do(absl::StrCat(
        "systemctl show nginx -p CPUQuotaPerSecUSec -p CPUQuotaPeriodUSec; ", kMax,
        " 2>/dev/null; cat /sys/fs/cgroup/system.slice/cgroup.subtree_control; "
        "for d in /run/systemd/system.control /run/systemd/transient /etc/systemd/system.control "
        "/etc/systemd/system/nginx.service.d; do [ -d $d ] || continue; find $d | sort; "
        "find $d -type f -exec md5sum {} + | sort; done"));
  }

  // Starts cpu.limit on nginx; what it says of itself.
  Json Inject(const std::string& more = "cpus=0.25", const std::string& target = "nginx") {
    const std::string said = Do(absl::StrCat(kCommand, "inject cpu.limit ", more,
                                             " --target unit:", target, " --for 50s --json"));
    return Json::parse(said, nullptr, false);
  }
  Json Find(const std::string& id) {
    const Json all = Json::parse(Do(absl::StrCat(kCommand, "faults --json")), nullptr, false);
    for (const Json& fault : all.value("faults", Json::array())) {
      if (fault.value("id", "") == id) return fault;
    }
    return {};
  }
  Json Stop(const Json& fault) {
    return Json::parse(Do(absl::StrCat(kCommand, "stop ", fault.value("id", "none"), " --json")),
                       nullptr, false);
  }

  // That `fault` ended as interfered within a second of `command`.
  void ExpectInterferes(const Json& fault, const std::string& command) {
    const double before = machine_->Now();
    Do(command);
    const double after = machine_->Now();
    Do("sleep 1.5");
    const Json ended = Find(fault.value("id", ""));
    EXPECT_EQ(ended.value("phase", ""), "interfered") << command << ended.dump();
    const double undone = ended["edges"]["undone"].value("boottime_ns", 0.0) / 1e9;
    std::printf("%s: between %.2f and %.2f s, closed at %.2f s: %s\n", command.c_str(), before,
                after, undone, ended.value("reason", "").c_str());
    EXPECT_GE(undone, before);
    EXPECT_LE(undone, after + 1);
  }

  // The fault before `fault` leaves nothing, now and after systemd has read everything again.
  void ExpectDigest(const std::string& before) {
    EXPECT_EQ(Digest(), before);
    Do("systemctl daemon-reload");
    EXPECT_EQ(Digest(), before);
  }

  void ExpectQuotaIsSystemds();
  void ExpectChangesAreSeen();
  void ExpectKillsAreUndone();

  Machine* machine_ = nullptr;
};

struct Case {
  const char* what;
  const char* make;
  const char* remove;
  // Whether it has another quota for the unit when systemd reads all drop-ins again.
  bool wins_reload;
};
constexpr Case kCases[] = {
    {"nothing", "true", "true", false},
    {"the controller", "systemctl set-property --runtime nginx CPUWeight=100", "true", false},
    {"root's for this boot", "systemctl set-property --runtime nginx CPUQuota=77%",
     "rm /run/systemd/system.control/nginx.service.d/50-CPUQuota.conf; systemctl daemon-reload",
     false},
    {"root's for ever", "systemctl set-property nginx CPUQuota=77%",
     "rm -r /etc/systemd/system.control/nginx.service.d; systemctl daemon-reload", true},
    {"root's own drop-in",
     "mkdir /etc/systemd/system/nginx.service.d; printf '[Service]\\nCPUQuota=77%%\\n' > "
     "/etc/systemd/system/nginx.service.d/admin.conf; systemctl daemon-reload",
     "rm -r /etc/systemd/system/nginx.service.d; systemctl daemon-reload", true},
};

// A quota is systemd's, outlives a reload, and leaves nothing.
void UnitTest::ExpectQuotaIsSystemds() {
  for (const Case& at : kCases) {
    SCOPED_TRACE(at.what);
    Do(at.make);
    const std::string before = Digest();
    const Json fault = Inject();
    EXPECT_EQ(Do(kMax), "25000 100000\n");
    EXPECT_EQ(Do("systemctl show nginx -p CPUQuotaPerSecUSec"), "CPUQuotaPerSecUSec=250ms\n");
    if (at.wins_reload) {
      ExpectInterferes(fault, "systemctl daemon-reload");
    } else {
      // The latter closes the injector's connection.
      Do("systemctl daemon-reload; systemctl daemon-reexec; sleep 1.5");
      EXPECT_EQ(Do(kMax), "25000 100000\n");
      EXPECT_EQ(Find(fault.value("id", "")).value("phase", ""), "verified");
      const Json ended = Stop(fault);
      EXPECT_EQ(ended.value("phase", ""), "undone") << ended.dump();
      EXPECT_TRUE(ended["residue"].empty()) << ended.dump();
    }
    ExpectDigest(before);
    Do(at.remove);
  }
  const std::string before = Digest();
  const Json odd = Inject("cpus=0.255 period=50ms");
  EXPECT_EQ(Do(kMax), "12750 50000\n");
  ExpectInterferes(odd, "systemctl daemon-reload");
  ExpectDigest(before);
  // The value that is there, and systemd is told.
  const Json sham = Json::parse(
      Do(absl::StrCat(kCommand, "inject sham mechanism=unit --target unit:nginx --for 50s --json")),
      nullptr, false);
  EXPECT_EQ(sham.value("phase", ""), "verified") << sham.dump();
  EXPECT_EQ(Do(kMax), "max 100000\n");
  EXPECT_NE(Digest(), before);
  EXPECT_EQ(Stop(sham).value("phase", ""), "undone");
  ExpectDigest(before);
}

// Whoever changes the unit is seen within a second.
void UnitTest::ExpectChangesAreSeen() {
  // The folder of units that programs make, as below, stays when they have gone.
  Do("systemctl set-property --runtime nginx CPUWeight=100; mkdir -p /run/systemd/transient");
  const std::string before = Digest();
  ExpectInterferes(Inject(), "systemctl restart nginx");
  EXPECT_EQ(Digest(), before);
  ExpectInterferes(Inject(), "systemctl stop nginx");
  // Told a property, systemd makes a group for a unit that does not run; one that nothing wants is
  // unloaded besides.
  Do("! [ -d /sys/fs/cgroup/system.slice/nginx.service ]");
  Do("systemctl start nginx; systemctl enable nginx");
  ExpectInterferes(Inject(), "systemctl stop nginx");
  Do("! [ -d /sys/fs/cgroup/system.slice/nginx.service ]");
  Do("systemctl disable nginx");
  Do("systemctl start nginx");
  ExpectDigest(before);
  ExpectInterferes(
      Json::parse(
          Do(absl::StrCat(kCommand, "inject process.pause --target unit:nginx --for 50s --json")),
          nullptr, false),
      "systemctl kill -s KILL nginx; systemctl restart nginx");
  ExpectDigest(before);
  ExpectInterferes(Inject(), "systemctl set-property --runtime nginx CPUQuota=60%");
  EXPECT_EQ(Do(kMax), "60000 100000\n");
  Do("rm /run/systemd/system.control/nginx.service.d/50-CPUQuota.conf; systemctl daemon-reload");
  ExpectDigest(before);
  ExpectInterferes(Inject(), "echo max > /sys/fs/cgroup/system.slice/nginx.service/cpu.max");
  ExpectDigest(before);

  // The bus daemon stands still, and with it who asks systemd through it.
  // No fault may do that to it.
  Do("cd /sys/fs/cgroup/system.slice/dbus.service && echo 1 > cgroup.freeze && "
     "{ (sleep 20; echo 0 > cgroup.freeze) </dev/null >/dev/null 2>&1 & }");
  const Json bounded = Json::parse(
      Do(absl::StrCat(
          kCommand,
          "inject cpu.limit cpus=0.25 --target unit:nginx --for 5s --wait --json 2>/dev/null")),
      nullptr, false);
  EXPECT_EQ(bounded.value("phase", ""), "undone") << bounded.dump();
  const double late_ns = bounded["edges"]["undone"].value("boottime_ns", 0.0) -
                         bounded.value("deadline_boottime_ns", 0.0);
  std::printf("undone %.0f ms after its deadline, without the bus daemon\n", late_ns / 1e6);
  EXPECT_LT(late_ns, 2e9);
  Do("sleep 15");
  ExpectDigest(before);

  // A unit that a program made, and what the fault does to it.
  Do("systemd-run --unit=spin sh -c 'while :; do :; done'");
  const std::string spinning = Digest();
  const Json limited = Inject("cpus=0.1", "spin");
  Do("sleep 3");
  const Json ended = Stop(limited);
  EXPECT_GT(ended["dose"][0].value("value", 0.0), 100'000'000) << ended.dump();
  EXPECT_EQ(Digest(), spinning);
  // Gone for good: with its drop-ins.
  ExpectInterferes(Inject("cpus=0.1", "spin"), "systemctl stop spin");
  ExpectDigest(before);

  // Whoever goes into the group of a frozen slice, for systemd to remove it, stands still there.
  Do("systemd-run --unit=cold --slice=cold sleep infinity");
  const Json cold = Inject("cpus=0.1", "cold");
  Do(absl::StrCat(kCommand, "inject process.pause --target cgroup:/cold.slice --for 8s"));
  ExpectInterferes(cold, "systemctl kill -s KILL cold");
  Do("sleep 8; grep -q 'frozen 0' /sys/fs/cgroup/cold.slice/cgroup.events");
  Do("systemctl stop cold cold.slice; systemctl reset-failed cold");
  ExpectDigest(before);

  // A group that is nobody's unit.
  Do("mkdir /sys/fs/cgroup/own");
  ExpectInterferes(
      Json::parse(Do(absl::StrCat(kCommand,
                                  "inject net.loss loss=50% direction=in --target cgroup:/own "
                                  "--for 50s --json")),
                  nullptr, false),
      "rmdir /sys/fs/cgroup/own");
  ExpectDigest(before);

  const std::string unknown =
      Fail(absl::StrCat(kCommand, "inject cpu.limit cpus=0.1 --target unit:nosuch --for 5s"));
  EXPECT_THAT(unknown, HasSubstr("unit nosuch.service has no control group"));
}

// What a killed injector left is undone.
void UnitTest::ExpectKillsAreUndone() {
  KillInjector();
  Do("systemctl set-property --runtime nginx CPUQuota=77%");
  const std::string before = Digest();
  // Before, during and after the start of the fault.
  for (int i = 0; i < 8; ++i) {
    StartInjector();
    Do(absl::StrCat(kCommand,
                    "inject cpu.limit cpus=0.25 period=50ms --target unit:nginx "
                    "--for 50s > /dev/null 2>&1 & sleep ",
                    0.06 * i));
    KillInjector();
    if (i % 4 == 3) Do("systemctl daemon-reload");
    Do("faultline-injector --state-dir /var/lib/faultline-test --undo");
    EXPECT_EQ(Digest(), before) << "killed after " << 60 * i << " ms";
  }
  ExpectDigest(before);
  Do("rm /run/systemd/system.control/nginx.service.d/50-CPUQuota.conf; systemctl daemon-reload");

  // The same as the service, which is not allowed much.
  Do("systemctl start faultline-injector");
  const std::string service = Digest();
  const Json fault = Inject();
  EXPECT_EQ(Do(kMax), "25000 100000\n");
  std::printf("injector: %s",
              Do(absl::StrCat("grep -E 'VmRSS|VmHWM' /proc/$(", kServicePid, ")/status")).c_str());
  EXPECT_EQ(Stop(fault).value("phase", ""), "undone");
  EXPECT_EQ(Digest(), service);
  Inject();
  const double killed = machine_->Now();
  KillInjector(kServicePid);
  Do(absl::StrCat("until [ \"$(", kMax, ")\" = 'max 100000' ]; do sleep 0.05; done"));
  // The promise is 5 s, which death_test.cc asserts, beside one other guest at most.
  const double undone = machine_->Now();
  std::printf("service: undone %.2f s after SIGKILL\n", undone - killed);
  EXPECT_LT(undone - killed, 10);
  Do("until systemctl -q is-active faultline-injector; do sleep 0.1; done");
  EXPECT_EQ(Digest(), service);
}

// One life of a machine, as its boot costs the time of half a scenario.
TEST_F(UnitTest, QuotaThenWhoChangesItThenKills) {
  StartInjector();
  ExpectQuotaIsSystemds();
  if (!HasFailure()) ExpectChangesAreSeen();
  if (!HasFailure()) ExpectKillsAreUndone();
}

}  // namespace
}  // namespace faultline
