// SPDX-License-Identifier: Apache-2.0
//
// The kernels that users have: what the agent can measure there, and a fault of each mechanism.
#include <gmock/gmock.h>

#include <nlohmann/json.hpp>
#include <ostream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "tests/vm/machine_fixture.h"

namespace faultline {
namespace {

using ::testing::HasSubstr;
using Json = nlohmann::json;

struct Mechanism {
  const char* what;
  const char* fault;
  // A command that succeeds while it is in force.
  const char* in_force;
};
constexpr Mechanism kMechanisms[] = {
    {"value of a control group", "cpu.limit cpus=0.3 --target cgroup:/system.slice/nginx.service",
     "grep -qx '30000 100000' /sys/fs/cgroup/system.slice/nginx.service/cpu.max && "
     "bpftool prog | grep -q throttle_switch"},
    {"property of a unit", "cpu.limit cpus=0.2 --target unit:nginx",
     "systemctl show nginx -p CPUQuotaPerSecUSec | grep -q =200ms"},
    {"memory property of a unit", "mem.limit bytes=256MiB by=high --target unit:nginx",
     "grep -qx 268435456 /sys/fs/cgroup/system.slice/nginx.service/memory.high"},
    {"value for a disk",
     "io.limit device=nvme0n1 read=1MiB --target cgroup:/system.slice/nginx.service",
     "grep -q rbps=1048576 /sys/fs/cgroup/system.slice/nginx.service/io.max"},
    {"property for a disk", "io.limit device=nvme0n1 write=2MiB --target unit:nginx",
     "grep -q wbps=2097152 /sys/fs/cgroup/system.slice/nginx.service/io.max"},
    {"signal", "process.kill signal=USR1 --target unit:nginx",
     "faultline --injector unix:/run/faultline/root.sock faults | grep -q 'processes signalled'"},
    {"freezer", "process.pause --target unit:nginx",
     "grep -qx 'frozen 1' /sys/fs/cgroup/system.slice/nginx.service/cgroup.events"},
    {"helper", "mem.leak bytes=8MiB rate=64MiB --target unit:nginx", "pgrep -x faultline-hold"},
    {"helper that burns", "cpu.load cpus=0.2 --target unit:nginx", "pgrep -x faultline-load"},
    {"BPF link", "net.loss loss=50% direction=in --target unit:nginx",
     "bpftool link | grep -q cgroup_inet_ingress"},
    {"plane", "net.rate rate=1Mbit device=d0 --target unit:nginx",
     "tc class show dev d0 | grep -q 'rate 1Mbit'"},
    {"plane with netem", "net.delay delay=50ms device=d0 --target unit:nginx",
     "tc qdisc show dev d0 | grep -q 'netem.* delay 50ms'"},
};

struct Kernel {
  const char* arch;
  const char* series;
  // Columns that cannot be measured on a machine without hardware counters, with a kernel that old.
  int missing;
};

void PrintTo(const Kernel& kernel, std::ostream* out) {
  *out << kernel.arch << ' ' << kernel.series;
}

class KernelTest : public MachineTest, public ::testing::WithParamInterface<Kernel> {};

TEST_P(KernelTest, MeasuresAndTakesAFaultOfEachMechanism) {
  Guest::Options options;
  options.arch = GetParam().arch;
  options.kernel = GetParam().series;
  if (Guest::ImageDir(options.arch).empty()) {
    GTEST_SKIP() << "no image for " << options.arch << ": ./run vm --long makes it";
  }
  Machine* const machine = Boot(options);
  ASSERT_NE(machine, nullptr);
  const std::string release = Do("uname -r");
  EXPECT_TRUE(absl::StartsWith(release, options.kernel)) << release;
  const std::string measured = Do("faultline-agent --check 2> /dev/null");
  const std::string summary = measured.substr(measured.rfind('\n', measured.size() - 2) + 1);
  EXPECT_THAT(summary, HasSubstr(absl::StrCat(" 0 degraded, ", GetParam().missing, " missing")));
  std::printf("%s%s", release.c_str(), summary.c_str());
  Do("ip link add d0 type dummy && ip link set d0 up && echo 'plane-device: [d0]' >> "
     "/etc/faultline/injector.yaml && systemctl start nginx faultline-injector");
  // As a service it measures the same, as a user that may do no more than that; but Debian's
  // perf_event_paranoid keeps hardware counters for root, of which an emulated arm64 has one.
  const auto as_a_service = [this] {
    return Do(
        "systemctl restart faultline-agent && systemctl show -P StatusText faultline-agent && "
        "systemctl stop faultline-agent");
  };
  const int kept = options.arch == "arm64" ? 1 : 0;
  EXPECT_THAT(as_a_service(),
              HasSubstr(absl::StrCat(" 0 degraded, ", GetParam().missing + kept, " missing")));
  // The setting that doctor asks for.
  Do("sysctl -qw kernel.perf_event_paranoid=2");
  EXPECT_THAT(as_a_service(),
              HasSubstr(absl::StrCat(" 0 degraded, ", GetParam().missing, " missing")));
  const std::string before = Do(std::string(kDigestScript) + "digest");
  for (const Mechanism& mechanism : kMechanisms) {
    SCOPED_TRACE(mechanism.what);
    const Json fault = Json::parse(
        Do(absl::StrCat(kRoot, "inject --json --for 60s ", mechanism.fault)), nullptr, false);
    Do(mechanism.in_force);
    Do(absl::StrCat(kRoot, "stop ", fault.value("id", "none")));
    EXPECT_EQ(Do(std::string(kDigestScript) + "digest"), before);
  }

  // Its device loses its link and has it again.
  Do(absl::StrCat(kRoot, "inject net.rate rate=1Mbit device=d0 --target unit:nginx --for 60s"));
  const double before_s = machine->Now();
  Do("ip link set d0 down");
  const double after_s = machine->Now();
  Do("sleep 1.5");
  const Json faults = Json::parse(Do(absl::StrCat(kRoot, "faults --json")), nullptr, false);
  ASSERT_FALSE(faults.value("faults", Json::array()).empty()) << faults.dump();
  EXPECT_EQ(faults["faults"][0].value("type", ""), "net.rate");
  EXPECT_EQ(faults["faults"][0].value("phase", ""), "interfered") << faults["faults"][0].dump();
  const double undone = faults["faults"][0]["edges"]["undone"].value("boottime_ns", 0.0) / 1e9;
  EXPECT_GE(undone, before_s);
  EXPECT_LE(undone, after_s + 1);
  Do("ip link set d0 up");
  EXPECT_EQ(Do(std::string(kDigestScript) + "digest"), before);
}

INSTANTIATE_TEST_SUITE_P(Kernels, KernelTest,
                         ::testing::Values(Kernel{"amd64", "5.10", 7}, Kernel{"amd64", "6.1", 4},
                                           Kernel{"amd64", "6.12", 4}, Kernel{"arm64", "5.10", 6},
                                           Kernel{"arm64", "6.1", 3}, Kernel{"arm64", "6.12", 3}),
                         [](const auto& kernel) {
                           return absl::StrReplaceAll(
                               absl::StrCat(kernel.param.arch, "_", kernel.param.series),
                               {{".", "_"}});
                         });

}  // namespace
}  // namespace faultline
