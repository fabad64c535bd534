// SPDX-License-Identifier: Apache-2.0
//
// Whatever becomes of the injector or the machine, no fault outlives it for long.
#include <gmock/gmock.h>

#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "tests/vm/machine_fixture.h"

namespace faultline {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// Six faults, one of each kind, each on a unit of its own; and what they could leave behind.
constexpr char kScript[] = R"(
cat > /root/scenario <<'END'
inject() { faultline --injector unix:/run/faultline/root.sock inject "$@" > /root/inject.log 2>&1 || { cat /root/inject.log; exit 1; }; }
start_all() {
  inject sham --target cgroup:/system.slice/t1.service --for ${1}
  inject cpu.limit --target cgroup:/system.slice/t2.service --for ${1} cpus=0.3
  inject mem.leak --target cgroup:/system.slice/t3.service --for ${1} bytes=8MiB rate=64MiB
  inject process.pause --target cgroup:/system.slice/t4.service --for ${1}
  inject net.loss --target cgroup:/system.slice/t5.service --for ${1} loss=50% direction=in
  inject net.rate --target cgroup:/system.slice/t6.service --for ${1} rate=1Mbit device=d0
}
digest() {
  tc qdisc; tc class show dev d0
  for d in d0 lo; do tc filter show dev $d ingress; tc filter show dev $d egress; done
  bpftool link | sed -n 's/^[0-9]*: *//p'
  for t in 1 2 3 4 5 6; do
    cd /sys/fs/cgroup/system.slice/t$t.service
    echo $t $(cat cpu.max memory.max memory.high cgroup.freeze pids.max) $(ls -d */ 2>/dev/null) $(wc -l < cgroup.procs)
  done
  pgrep -x faultline-hold || true
}
now() { cut -d' ' -f1 /proc/uptime; }
# Waits until all is as in /root/base; prints after how many seconds since $1.
await_base() {
  for i in $(seq 1 200); do
    digest > /root/now 2>&1
    if cmp -s /root/base /root/now; then awk "BEGIN { print $(now) - $1 }"; return 0; fi
    sleep 0.1
  done
  diff /root/base /root/now; return 1
}
END
ip link add d0 type dummy && ip link set d0 up
for t in 1 2 3 4 5 6; do systemd-run -q --unit=t$t sleep infinity; done
printf 'max-faults: 8\nplane-device: [d0]\n' >> /etc/faultline/injector.yaml
systemctl stop faultline-agent faultline-collector
systemctl restart faultline-injector
. /root/scenario; digest > /root/base 2>&1; cat /root/base)";

class DeathTest : public MachineTest {
 protected:
  void Prepare() {
    Install();
    Do(kScript);
  }
  static bool Long() { return std::getenv("FAULTLINE_LONG") != nullptr; }
};

TEST_F(DeathTest, KilledAtRandomMoments_EverythingIsAsBeforeWithinSeconds) {
  Prepare();
  double longest = 0;
  const int kills = Long() ? 100 : 30;
  for (int i = 0; i < kills && !HasFailure(); ++i) {
    const std::string took =
        Do("set -e; . /root/scenario; systemctl reset-failed faultline-injector; start_all 300s & "
           "all=$!; "
           // At any moment while they are started, or when all are in force.
           "sleep $((RANDOM % 4)).$((RANDOM % 10)); at=$(now); "
           "systemctl kill --kill-whom=main -s KILL faultline-injector; "
           "wait $all > /dev/null 2>&1 || true; await_base $at");
    longest = std::max(longest, std::atof(took.c_str()));
    Await("systemctl -q is-active faultline-injector");
  }
  std::printf("%d kills, all undone after at most %.1f s\n", kills, longest);
  RecordProperty("kills", kills);
}

TEST_F(DeathTest, Frozen_TheWatchdogUndoes) {
  Prepare();
  const std::string took =
      Do("set -e; . /root/scenario; start_all 5s; at=$(now); "
         "kill -STOP $(systemctl show -P MainPID faultline-injector); await_base $at");
  // The deadline is after at most 5 s.
  EXPECT_LT(std::atof(took.c_str()), 20) << took;
  std::printf("frozen with faults of 5 s: all undone after %s", took.c_str());
}

TEST_F(DeathTest, PowerCut_TheJournalIsClosedAtBoot) {
  Prepare();
  for (int cycle = 0; cycle < (Long() ? 10 : 3) && !HasFailure(); ++cycle) {
    Do(". /root/scenario; start_all 300s");
    guest_->CutPower();
    ASSERT_TRUE(guest_->Start().ok());
    Do("systemctl is-active faultline-undo || systemctl status faultline-undo | grep -q "
       "status=0/SUCCESS");
    EXPECT_THAT(
        Do("ip link add d0 type dummy && ip link set d0 up; systemctl start faultline-injector; "
           "faultline --injector unix:/run/faultline/root.sock faults"),
        HasSubstr("reboot"));
    EXPECT_THAT(Do("faultline --injector unix:/run/faultline/root.sock faults --active"),
                HasSubstr("no fault"));
    Do("for t in 1 2 3 4 5 6; do systemd-run -q --unit=t$t sleep infinity; done; pgrep -x "
       "faultline-hold && exit 1; true");
  }
}

}  // namespace
}  // namespace faultline
