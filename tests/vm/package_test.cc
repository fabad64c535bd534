// SPDX-License-Identifier: Apache-2.0
//
// The Debian packages on a whole machine: what an administrator does with them, in order.
#include <gmock/gmock.h>

#include "absl/strings/str_cat.h"
#include "tests/vm/machine_fixture.h"

namespace faultline {
namespace {

using ::testing::AllOf;
using ::testing::ContainsRegex;
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

// The packages as of a later version, whose samples of the configuration differ.
constexpr char kNewer[] = R"(set -e
mkdir /root/newer; cd /root/newer
for deb in /mnt/faultline*.deb; do
  name=$(basename $deb .deb)
  dpkg-deb -R $deb $name
  sed -i 's/^Version: .*/&+newer/' $name/DEBIAN/control
  for file in $name/etc/faultline/*.yaml; do
    [ ! -e $file ] || echo '# A key of a later version.' >> $file
  done
  dpkg-deb -Znone -b $name > /dev/null
  rm -r $name
done)";

TEST_F(PackageTest, InstallUseUpgradeAndPurge_LeaveNothing) {
  ASSERT_NE(BootBare(), nullptr);
  Do("ip link add d0 up type dummy; systemctl start nginx");
  Do(absl::StrCat("NAME=before; ", kDigest));
  // Ready with the quota that they are shipped with, on a processor as slow as this one.
  std::printf("%s", Do("time dpkg -i /mnt/*.deb > /dev/null").c_str());
  Do("systemctl is-active faultline-agent faultline-collector");
  // As tests/vm/install says; and the collector's watchdog not only after two minutes.
  Do("for s in agent collector injector; do mkdir -p /etc/systemd/system/faultline-$s.service.d; "
     "printf '[Service]\\nCPUQuota=\\nTimeoutAbortSec=5\\n' > "
     "/etc/systemd/system/faultline-$s.service.d/emulated.conf; done; "
     "echo WatchdogSec=20 >> /etc/systemd/system/faultline-collector.service.d/emulated.conf; "
     "systemctl daemon-reload");
  // A service that may do nothing, or not enough, is not ready.
  for (const char* capabilities : {"--inh-caps=-all --bounding-set=-all",
                                   "--inh-caps=-all,+bpf --ambient-caps=-all,+bpf "
                                   "--bounding-set=-all,+bpf"}) {
    EXPECT_THAT(Fail(absl::StrCat("setpriv --reuid faultline-agent --regid faultline-agent "
                                  "--clear-groups ",
                                  capabilities,
                                  " env NOTIFY_SOCKET=/run/systemd/notify timeout 60 "
                                  "faultline-agent --node none 2>&1")),
                HasSubstr("this service may load no BPF program"))
        << capabilities;
  }
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
  // What burns CPU time competes as any other process; the service has its weight.
  Do(absl::StrCat(kRoot, "inject cpu.load --target ", kTarget, " --for 5s cpus=0.1"));
  EXPECT_EQ(Do("cut -d' ' -f19 /proc/$(pidof faultline-load)/stat"), "0\n");
  EXPECT_EQ(Do("cat /sys/fs/cgroup/system.slice/faultline-injector.service/cpu.weight"), "932\n");
  Await("! pidof faultline-load");
  // A device that is plugged in again has its plane as soon as it is up.
  Do("tc qdisc show dev d0 | grep htb && ip link del d0 && ip link add d0 up type dummy");
  Await("tc qdisc show dev d0 | grep -q htb");

  // Who is killed comes back.
  for (const char* service : {"agent", "collector", "injector"}) {
    Do(absl::StrCat("systemctl kill -s KILL faultline-", service));
    Await(absl::StrCat("[ $(systemctl show -P NRestarts faultline-", service,
                       ") -ge 1 ] && systemctl -q is-active faultline-", service));
  }
  Await("faultline status | grep -q connected");
  const std::string doctor = Do("faultline doctor");
  EXPECT_THAT(doctor, Not(HasSubstr("FAIL")));
  std::printf("%s", doctor.c_str());

  // Who hangs is ended by the watchdog; meanwhile the packages of the upgrade are made.
  Do("systemctl kill --kill-whom=main -s STOP faultline-agent faultline-collector "
     "faultline-injector");
  Do(kNewer);
  for (const char* service : {"agent", "collector", "injector"}) {
    Await(absl::StrCat("journalctl -u faultline-", service,
                       " -o cat | grep -q 'Watchdog timeout' && systemctl -q is-active faultline-",
                       service));
  }
  Await("faultline status | grep -q connected");

  // An upgrade ends what is active and keeps what the administrator wrote; what he left alone is
  // the later version's, and the journal goes on.
  StartLimit();
  Do("dpkg --force-confold -i /root/newer/*.deb");
  // Its keeper goes on meanwhile.
  Do("cd /var/lib/dpkg/info && ! grep -qs undo-keeper faultline-injector.preinst && "
     "grep -q 'try-restart .*undo-keeper' faultline-injector.postinst");
  EXPECT_EQ(Do(kQuota), "max 100000\n");
  EXPECT_THAT(Do("cat /etc/faultline/injector.yaml"), HasSubstr("enabled: true"));
  Do("cd /etc/faultline && grep -q 'a later version' agent.yaml && grep -q 'a later version' "
     "injector.yaml.dpkg-dist && "
     "! grep -q 'a later version' injector.yaml");
  EXPECT_THAT(Do("dpkg-query -W -f '${Version} ' faultline{,-agent,-injector,-collector}"),
              ContainsRegex("^([^ ]+newer ){4}$"));
  Do("systemctl is-active faultline-agent faultline-collector faultline-injector");
  EXPECT_THAT(Do(absl::StrCat(kRoot, "faults")), HasSubstr("the injector was stopped"));

  // Where the journal cannot be read, what can still undo stays, and says so.
  Do("cd /var/lib/faultline/injector && systemctl stop faultline-injector && mkdir /root/journal "
     "&& mv journal.db* /root/journal && mkdir journal.db");
  EXPECT_THAT(Fail("dpkg -r faultline-injector 2>&1"),
              AllOf(HasSubstr("so the package stays"), HasSubstr("journal.db")));
  Do("cd /var/lib/faultline/injector && rmdir journal.db && mv /root/journal/* . && "
     "dpkg --configure -a && systemctl reset-failed && systemctl restart faultline-injector");

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
