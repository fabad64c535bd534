// SPDX-License-Identifier: Apache-2.0
//
// The Debian packages on a whole machine: what an administrator does with them, in order.
#include <gmock/gmock.h>

#include "absl/strings/str_cat.h"
#include "tests/vm/machine_fixture.h"

namespace faultline {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// What a package could leave behind. Passwords' and groups' own backups are not ours.
constexpr char kDigest[] =
    "{ find /etc /usr /lib/systemd /var/lib /run/systemd/system /run/systemd/system.control "
    "/run/faultline /sys/fs/bpf -xdev "
    "! -path '/var/lib/dpkg*' ! -path '/var/lib/systemd*' ! -path '/var/lib/private*' "
    "! -path '/etc/*-' ! -name ld.so.cache ! -name '.pwd.lock' 2>/dev/null; getent passwd; "
    "getent group; systemctl list-unit-files --no-legend; systemctl list-units --all --no-legend "
    "'faultline*' | tr -s ' '; tc qdisc; bpftool link; cd "
    "/sys/fs/cgroup/system.slice/nginx.service; "
    "grep . cpu.max memory.max cgroup.freeze; pgrep -a faultline; } | sort > /root/digest.$NAME";

constexpr char kQuota[] = "cat /sys/fs/cgroup/system.slice/nginx.service/cpu.max";

class PackageTest : public MachineTest {
 protected:
  void StartLimit() {
    Do(absl::StrCat(kRoot, "inject cpu.limit --target ", kTarget, " --for 100s cpus=0.25"));
    EXPECT_EQ(Do(kQuota), "25000 100000\n");
  }

  // By systemd's own score, the lower the better.
  void ExpectSandboxed() {
    for (const auto& [service, most] :
         {std::pair("agent", 2.5), std::pair("injector", 2.5), std::pair("collector", 1.5)}) {
      const std::string score =
          Do(absl::StrCat("systemd-analyze security --offline=true --no-pager faultline-", service,
                          ".service | sed -n 's/.*exposure level.*: \\([0-9.]*\\) .*/\\1/p'"));
      EXPECT_LE(std::stod(score.empty() ? "99" : score), most) << service;
      std::printf("faultline-%s: %s", service, score.c_str());
    }
  }
};

TEST_F(PackageTest, InstallUseUpgradeAndPurge_LeaveNothing) {
  ASSERT_NE(BootBare(), nullptr);
  Do("ip link add d0 up type dummy; systemctl start nginx");
  Do(absl::StrCat("NAME=before; ", kDigest));
  // Ready with the quota that they are shipped with, on a processor as slow as this one.
  std::printf("%s", Do("time dpkg -i /mnt/*.deb > /dev/null").c_str());
  Do("systemctl is-active faultline-agent faultline-collector");
  // As tests/vm/install says.
  Do("for s in agent collector injector; do mkdir -p /etc/systemd/system/faultline-$s.service.d; "
     "printf '[Service]\\nCPUQuota=\\n' > "
     "/etc/systemd/system/faultline-$s.service.d/emulated.conf; done; systemctl daemon-reload");
  EXPECT_THAT(Fail("systemctl is-enabled faultline-injector"), HasSubstr("disabled"));
  Fail("systemctl is-active faultline-injector");
  Await("faultline status | grep -q connected");
  ExpectSandboxed();
  // The sandbox leaves it what it measures with.
  EXPECT_THAT(Do("faultline status --json"), Not(HasSubstr("CAP_BPF")));

  // Enabled as a service, and still not allowed to do anything.
  Do("systemctl enable --now faultline-injector");
  EXPECT_THAT(Fail(absl::StrCat(kRoot, "inject sham --target ", kTarget, " --for 2s")),
              HasSubstr("enabled: true"));
  Do("printf 'enabled: true\\nplane-device: [d0]\\n' >> /etc/faultline/injector.yaml");
  EXPECT_THAT(Do("faultline-injector --check-config --config /etc/faultline/injector.yaml"),
              HasSubstr("no error"));
  Do("systemctl restart faultline-injector");
  Do(absl::StrCat(kRoot, "inject cpu.limit --target ", kTarget, " --for 2s --wait cpus=0.25"));
  EXPECT_EQ(Do(kQuota), "max 100000\n");

  // Who is killed comes back.
  for (const char* service : {"agent", "collector", "injector"}) {
    Do(absl::StrCat("systemctl kill -s KILL faultline-", service));
    Await(absl::StrCat("[ $(systemctl show -P NRestarts faultline-", service,
                       ") -ge 1 ] && systemctl -q is-active faultline-", service));
  }
  Await("faultline status | grep -q connected");

  // An upgrade ends what is active and keeps what the administrator wrote.
  StartLimit();
  Do("dpkg -i /mnt/faultline*.deb");
  // Its keeper goes on meanwhile.
  Do("cd /var/lib/dpkg/info && ! grep -qs undo-keeper faultline-injector.preinst && "
     "grep -q 'try-restart .*undo-keeper' faultline-injector.postinst");
  EXPECT_EQ(Do(kQuota), "max 100000\n");
  EXPECT_THAT(Do("cat /etc/faultline/injector.yaml"), HasSubstr("enabled: true"));
  Do("systemctl is-active faultline-agent faultline-collector faultline-injector");

  // Removed while faults are active, with an injector that is ended by force.
  Do(absl::StrCat(kRoot, "inject cpu.limit --target unit:nginx --for 100s cpus=0.25; ", kRoot,
                  "inject net.rate rate=1Mbit device=d0 --target unit:nginx --for 100s; ", kRoot,
                  "inject net.loss loss=50% --target unit:nginx --for 100s"));
  Do("NAME=faults; " + std::string(kDigest));
  for (const char* line : {"cpu.max:25000", "50-CPUQuota.conf", "htb", "cgroup_inet"}) {
    Do(absl::StrCat("grep -q '", line, "' /root/digest.faults"));
  }
  Do("systemctl kill -s KILL faultline-injector; dpkg -r faultline-injector");
  Do(absl::StrCat(kQuota,
                  " | grep -q max && ! tc qdisc | grep htb && ! bpftool link | grep cgroup_inet && "
                  "! pgrep -x faultline-injec"));
  // An administrator's keys stay, and no later user can read them.
  Do("mkdir -m 700 /etc/faultline/tls; touch /etc/faultline/tls/key.pem; "
     "chown -R faultline-agent: /etc/faultline/tls");
  Do("dpkg -P faultline faultline-agent faultline-injector faultline-collector");
  EXPECT_EQ(Do("stat -c '%U %a %n' /etc/faultline/tls /etc/faultline/tls/key.pem"),
            "root 700 /etc/faultline/tls\nroot 644 /etc/faultline/tls/key.pem\n");
  // Nothing else is in the folder.
  Do("rm -r /etc/faultline/tls && rmdir /etc/faultline");
  // What the test made, and systemd's memory of the kill.
  Do("rm -r /etc/systemd/system/faultline-{agent,collector,injector}.service.d; "
     "systemctl daemon-reload; systemctl reset-failed");
  Do(absl::StrCat("NAME=after; ", kDigest));
  EXPECT_EQ(Do("diff /root/digest.before /root/digest.after; true"), "");
}

}  // namespace
}  // namespace faultline
