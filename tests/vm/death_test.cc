// SPDX-License-Identifier: Apache-2.0
//
// Whatever becomes of the injector or the machine, no fault outlives it for long.
#include <gmock/gmock.h>

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "tests/vm/machine_fixture.h"

namespace faultline {
namespace {

using ::testing::HasSubstr;

// Six faults, one of each kind, each on a unit of its own.
constexpr char kScript[] = R"(
inject() {
  local log=/root/inject.$1.log
  faultline --injector unix:/run/faultline/root.sock inject "$@" > $log 2>&1 || { cat $log; exit 1; }
}
start_all() {
  inject sham --target cgroup:/system.slice/t1.service --for $1
  inject cpu.limit --target cgroup:/system.slice/t2.service --for $1 cpus=0.3
  inject mem.leak --target cgroup:/system.slice/t3.service --for $1 bytes=8MiB rate=64MiB
  inject process.pause --target cgroup:/system.slice/t4.service --for $1
  inject net.loss --target cgroup:/system.slice/t5.service --for $1 loss=50% direction=in
  inject net.rate --target cgroup:/system.slice/t6.service --for $1 rate=1Mbit device=d0
}
now() { cut -d' ' -f1 /proc/uptime; }
# Waits until all is as in /root/base; prints after how many seconds since $1.
await_base() {
  local end=$((SECONDS + 40))
  while [ $SECONDS -lt $end ]; do
    local at=$(now)
    digest > /root/now 2>&1
    if cmp -s /root/base /root/now; then awk "BEGIN { print $at - $1 }"; return 0; fi
  done
  diff /root/base /root/now
  return 1
}
)";

constexpr char kPrepare[] = R"(
ip link add d0 type dummy && ip link set d0 up
for t in 1 2 3 4 5 6; do systemd-run -q --unit=t$t sleep infinity; done
printf 'max-faults: 8\nplane-device: [d0]\n' >> /etc/faultline/injector.yaml
systemctl enable --now faultline-injector
. /root/scenario
digest > /root/base 2>&1
)";

class DeathTest : public MachineTest {
 protected:
  void Prepare() {
    machine_ = Boot();
    ASSERT_NE(machine_, nullptr);
    machine_->Write("/root/scenario", absl::StrCat(kDigestScript, kScript));
    Do(kPrepare);
  }
  double Seconds(const std::string& command) {
    double seconds = 0;
    const std::string said = Do(". /root/scenario; " + command);
    EXPECT_TRUE(absl::SimpleAtod(said, &seconds)) << said;
    return seconds;
  }
  Machine* machine_ = nullptr;
};

TEST_F(DeathTest, KilledAtRandomMoments_EverythingIsAsBeforeWithinSeconds) {
  Prepare();
  double longest = 0;
  const int kills = Long() ? 100 : 30;
  for (int i = 0; i < kills && !HasFailure(); ++i) {
    // While they are started, or when all are in force.
    const double took = Seconds(
        "systemctl reset-failed faultline-injector; start_all 300s > /root/all 2>&1 & all=$!; "
        "sleep $((RANDOM % 4)).$((RANDOM % 10)); at=$(now); "
        "systemctl kill --kill-whom=main -s KILL faultline-injector; wait $all; await_base $at");
    longest = std::max(longest, took);
    Await("systemctl -q is-active faultline-injector");
  }
  std::printf("%d kills, all undone after at most %.1f s\n", kills, longest);
  RecordProperty("kills", kills);
}

TEST_F(DeathTest, Frozen_UndoneAfterTheDeadline) {
  Prepare();
  const double took = Seconds(
      "start_all 10s; at=$(now); kill -STOP $(systemctl show -P MainPID faultline-injector); "
      "await_base $at");
  // The last deadline was 10 s after the start of the last fault at most.
  EXPECT_LT(took, 25);
  std::printf("frozen with faults of 10 s: all undone after %.1f s\n", took);
}

TEST_F(DeathTest, PowerCut_TheJournalIsClosedAtBoot) {
  Prepare();
  const int cycles = Long() ? 10 : 3;
  for (int cycle = 0; cycle < cycles && !HasFailure(); ++cycle) {
    Do(". /root/scenario; start_all 300s");
    machine_->guest().CutPower();
    ASSERT_TRUE(machine_->guest().Start().ok());
    Await("systemctl -q is-active faultline-injector");
    const std::string faults = Do(absl::StrCat(kRoot, "faults"));
    EXPECT_THAT(faults, HasSubstr("reboot"));
    EXPECT_THAT(Do(absl::StrCat(kRoot, "faults --active")), HasSubstr("no active fault"));
    Do("! pgrep -x faultline-hold; ip link add d0 type dummy && ip link set d0 up; "
       "for t in 1 2 3 4 5 6; do systemd-run -q --unit=t$t sleep infinity; done; "
       "systemctl restart faultline-injector");
    Seconds("await_base $(now)");
  }
}

}  // namespace
}  // namespace faultline
