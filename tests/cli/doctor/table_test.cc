// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>

#include <set>
#include <sstream>

#include "absl/strings/match.h"
#include "cli/doctor/report.h"
#include "tests/cli/doctor/fake_site.h"

namespace faultline::cli::doctor {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string Text(const Verdict& verdict) {
  return absl::StrCat(StateWord(verdict.state), ": ", verdict.found, "; fix: ", verdict.fix);
}

TEST(DoctorTable, RowsAreWhole) {
  std::set<std::string> names;
  for (const Check& check : Checks()) {
    EXPECT_TRUE(names.insert(check.name).second) << check.name;
    EXPECT_STRNE(check.purpose, "") << check.name;
    EXPECT_NE(check.services, 0) << check.name;
    EXPECT_EQ(check.services & ~kEveryService, 0) << check.name;
    EXPECT_TRUE(check.failed == State::kWarn || check.failed == State::kFail) << check.name;
    EXPECT_NE(check.run, nullptr) << check.name;
  }
}

// The packages are in no archive, and none has the sources' docs/.
TEST(DoctorTable, FixesNeedNothingThatAnInstalledMachineLacks) {
  for (const Check& check : Checks()) {
    EXPECT_THAT(check.fix, Not(HasSubstr("install faultline"))) << check.name;
    EXPECT_THAT(check.fix, Not(HasSubstr("docs/"))) << check.name;
  }
}

TEST_F(DoctorTest, EveryRowIsOk_WhereAllIsWell) {
  for (const Check& check : Checks()) {
    const Verdict verdict = Examine(site_, check);
    EXPECT_EQ(verdict.state, State::kOk) << check.name << ": " << Text(verdict);
    EXPECT_NE(verdict.found, "") << check.name;
    EXPECT_EQ(verdict.fix, "") << check.name;
  }
}

TEST_F(DoctorTest, EveryRowButThoseOfDataIsNotOk_AndSaysWhatToDo_WhereNothingIsThere) {
  Remove("/");
  site_.kernel_release = "4.19.0";
  site_.capabilities = ~(Bit(CAP_SYS_PTRACE) | Bit(CAP_SYS_RESOURCE));
  site_.collector = "collector.example:4640";
  site_.collector_named = true;
  // Files that need what is not there.
  Write("/etc/faultline/agent.yaml", "collector: collector.example:4640");
  Write("/etc/faultline/collector.yaml", "listen: 0.0.0.0:4640");
  trials_.program = ProgramEnd{2, "agent.yaml:1: wrong"};
  const absl::Status none = absl::UnimplementedError("this kernel has none");
  trials_.bpf = trials_.qdisc = trials_.plane = trials_.pmu = trials_.bpffs = none;
  trials_.clock = ClockReading{false, 16'000'000};
  trials_.space = Space{0, 1 << 30, false, false};
  trials_.nodes = absl::UnavailableError("cannot connect");
  for (const Check& check : Checks()) {
    const Verdict verdict = Examine(site_, check);
    // What lacks there is not needed by any row.
    if (absl::string_view(check.name) == "capabilities") continue;
    EXPECT_NE(verdict.state, State::kOk) << check.name << ": " << Text(verdict);
    EXPECT_NE(verdict.found, "") << check.name;
    EXPECT_NE(verdict.fix, "") << check.name;
  }
}

TEST_F(DoctorTest, EveryRowThatNeedsACapabilityIsSkipped_ForAUserWithoutAny) {
  site_.capabilities = 0;
  site_.is_root = false;
  for (const Check& check : Checks()) {
    const Verdict verdict = Examine(site_, check);
    const bool skipped = check.capabilities != 0 || absl::string_view(check.name) == "capabilities";
    EXPECT_EQ(verdict.state, skipped ? State::kSkipped : State::kOk)
        << check.name << ": " << Text(verdict);
    if (skipped) {
      EXPECT_THAT(verdict.fix, HasSubstr("sudo faultline doctor")) << check.name;
    }
  }
  for (const std::string& asked : trials_.asked) {
    EXPECT_FALSE(absl::StartsWith(asked, "bpf/") || absl::StartsWith(asked, "qdisc/")) << asked;
  }
}

TEST_F(DoctorTest, RowsOfOthersAreSkipped_WhereOneServiceIsLookedAfter) {
  for (const Service service : {kAgent, kInjector, kCollector}) {
    site_.services = service;
    for (const Check& check : Checks()) {
      const Verdict verdict = Examine(site_, check);
      const bool own = (check.services & service) != 0;
      EXPECT_EQ(verdict.state, own ? State::kOk : State::kSkipped)
          << check.name << ": " << Text(verdict);
      if (!own) {
        EXPECT_THAT(verdict.fix, HasSubstr("doctor --for ")) << check.name;
      }
    }
  }
}

TEST_F(DoctorTest, TrialsTryWhatTheRowNames) {
  for (const Check& check : Checks()) {
    const absl::string_view name = check.name;
    if (!absl::StartsWith(name, "bpf/") && !absl::StartsWith(name, "qdisc/")) continue;
    trials_.asked.clear();
    (void)Examine(site_, check);
    const std::string kind(name.substr(0, name.find('/') + 1));
    EXPECT_EQ(trials_.asked, std::vector<std::string>{kind + check.object});
  }
}

TEST_F(DoctorTest, SysAdminHoldsBpfAndPerfmon) {
  site_.capabilities = Bit(CAP_SYS_ADMIN) | Bit(CAP_NET_ADMIN) | Bit(CAP_DAC_OVERRIDE);
  EXPECT_EQ(Look("bpf/tp_btf").state, State::kOk);
  EXPECT_EQ(Look("bpf/cgroup_ingress").state, State::kOk);
  EXPECT_EQ(Look("capabilities").state, State::kOk);
}

class DoctorCases : public DoctorTest {
 public:
  using DoctorTest::Remove;
  using DoctorTest::UseCgroups;
  using DoctorTest::Write;
  using DoctorTest::WriteCertificate;

  Site& site() { return site_; }
  FakeTrials& trials() { return trials_; }
  void AddMissing(const char* type, const char* reason) {
    v1::FaultInfo* fault = trials_.capabilities->add_faults();
    fault->set_type(type);
    fault->set_availability(v1::AVAILABILITY_MISSING);
    fault->set_reason(reason);
  }
};

// One row to one verdict: what is spoilt, and what has to be said.
struct Outcome {
  const char* label;
  const char* check;
  void (*spoil)(DoctorCases&);
  State state;
  const char* found;
  const char* fix;
};

void PrintTo(const Outcome& outcome, std::ostream* out) {
  *out << outcome.check << " " << outcome.label;
}

constexpr Outcome kOutcomes[] = {
    {"oldest", "kernel", [](DoctorCases& t) { t.site().kernel_release = "5.10.0-33-amd64"; },
     State::kOk, "5.10.0", ""},
    {"old", "kernel", [](DoctorCases& t) { t.site().kernel_release = "5.4.0-200-generic"; },
     State::kFail, "older than 5.10", "apt install linux-image-amd64"},
    {"old, on arm64", "kernel",
     [](DoctorCases& t) {
       t.site().kernel_release = "5.4.0-200-generic";
       t.site().machine = "aarch64";
     },
     State::kFail, "older than 5.10", "apt install linux-image-arm64"},
    {"old, elsewhere", "kernel",
     [](DoctorCases& t) {
       t.site().kernel_release = "5.4.0-200-generic";
       t.site().machine = "riscv64";
     },
     State::kFail, "older than 5.10", "install a kernel of Debian 12"},
    {"two digits", "kernel", [](DoctorCases& t) { t.site().kernel_release = "10.2"; }, State::kOk,
     "10.2", ""},
    {"odd", "kernel", [](DoctorCases& t) { t.site().kernel_release = "GNU"; }, State::kFail,
     "no release", "apt install"},
    {"none", "btf", [](DoctorCases& t) { t.Remove("/sys/kernel/btf"); }, State::kFail,
     "does not exist", "CONFIG_DEBUG_INFO_BTF"},
    {"other file", "btf", [](DoctorCases& t) { t.Write("/sys/kernel/btf/vmlinux", "ELF"); },
     State::kFail, "no BTF", "CONFIG_DEBUG_INFO_BTF"},
    {"empty", "btf", [](DoctorCases& t) { t.Write("/sys/kernel/btf/vmlinux", ""); }, State::kFail,
     "no BTF", "CONFIG_DEBUG_INFO_BTF"},
    {"integrity", "lockdown",
     [](DoctorCases& t) {
       t.Write("/sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
     },
     State::kOk, "integrity", ""},
    {"confidentiality", "lockdown",
     [](DoctorCases& t) {
       t.Write("/sys/kernel/security/lockdown", "none integrity [confidentiality]\n");
     },
     State::kWarn, "may not read", "lockdown=integrity"},
    {"no securityfs", "lockdown", [](DoctorCases& t) { t.Remove("/sys/kernel/security"); },
     State::kSkipped, "securityfs", "mount -t securityfs"},
    {"not built in", "lockdown",
     [](DoctorCases& t) {
       t.Remove("/sys/kernel/security/lockdown");
       t.Write("/sys/kernel/security/lsm", "capability,apparmor");
     },
     State::kOk, "no lockdown", ""},
    {"root of a container", "capabilities",
     [](DoctorCases& t) { t.site().capabilities = Bit(CAP_DAC_OVERRIDE) | Bit(CAP_NET_ADMIN); },
     State::kWarn, "this root lacks CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF", "container"},
    {"a user", "capabilities",
     [](DoctorCases& t) {
       t.site().capabilities = 0;
       t.site().is_root = false;
     },
     State::kSkipped, "this user lacks", "sudo"},
    {"refused", "bpf/tp_btf",
     [](DoctorCases& t) { t.trials().bpf = absl::PermissionDeniedError("load: not permitted"); },
     State::kFail, "load: not permitted", "lockdown"},
    {"not known", "bpf/tp_btf",
     [](DoctorCases& t) { t.trials().bpf = absl::InvalidArgumentError("load: invalid"); },
     State::kFail, "load: invalid", "CONFIG_BPF_EVENTS"},
    {"not known", "bpf/raw_tp",
     [](DoctorCases& t) { t.trials().bpf = absl::InvalidArgumentError("load: invalid"); },
     State::kWarn, "load: invalid", "CONFIG_BPF_EVENTS"},
    {"old kernel", "bpf/task_storage",
     [](DoctorCases& t) { t.trials().bpf = absl::InvalidArgumentError("load: invalid"); },
     State::kWarn, "", "5.11"},
    {"old kernel", "bpf/tcx",
     [](DoctorCases& t) { t.trials().bpf = absl::UnimplementedError("no tcx links"); },
     State::kWarn, "no tcx", "--plane-device"},
    {"no v2", "bpf/cgroup_ingress",
     [](DoctorCases& t) { t.trials().bpf = absl::UnimplementedError("no cgroup v2"); },
     State::kFail, "no cgroup v2", "CONFIG_CGROUP_BPF"},
    {"not mounted", "bpffs",
     [](DoctorCases& t) { t.trials().bpffs = absl::FailedPreconditionError("is no bpffs"); },
     State::kWarn, "is no bpffs", "mount -t bpf"},
    {"Debian's level", "perf_event_paranoid",
     [](DoctorCases& t) { t.Write("/proc/sys/kernel/perf_event_paranoid", "3\n"); }, State::kWarn,
     "is 3", "kernel.perf_event_paranoid=2"},
    {"open to all", "perf_event_paranoid",
     [](DoctorCases& t) { t.Write("/proc/sys/kernel/perf_event_paranoid", "-1\n"); }, State::kOk,
     "is -1", ""},
    {"no perf", "perf_event_paranoid",
     [](DoctorCases& t) { t.Remove("/proc/sys/kernel/perf_event_paranoid"); }, State::kWarn,
     "no perf events", "CONFIG_PERF_EVENTS"},
    {"virtual machine", "pmu",
     [](DoctorCases& t) { t.trials().pmu = absl::UnimplementedError("no such counter"); },
     State::kWarn, "no such counter", "host-passthrough"},
    {"nothing mounted", "cgroups", [](DoctorCases& t) { t.UseCgroups({}); }, State::kWarn,
     "no control group", "mount -t cgroup2"},
    {"hybrid", "cgroups",
     [](DoctorCases& t) {
       t.UseCgroups({{"cgroup", "1", "cpu"},
                     {"cgroup", "2", "memory"},
                     {"cgroup", "3", "blkio"},
                     {"cgroup", "4", "freezer"},
                     {"cgroup2", "0", ""}});
     },
     State::kOk, "hybrid: cpu in ", ""},
    {"v1 alone", "cgroups",
     [](DoctorCases& t) {
       t.UseCgroups({{"cgroup", "1", "cpu"},
                     {"cgroup", "2", "memory"},
                     {"cgroup", "3", "blkio"},
                     {"cgroup", "4", "freezer"}});
     },
     State::kWarn, "no v2 hierarchy", "cgroup2"},
    {"without memory", "cgroups",
     [](DoctorCases& t) {
       t.UseCgroups({{"cgroup2", "0", "cpu io pids"}});
     },
     State::kWarn, "no memory", "cgroup_enable=memory"},
    {"off", "psi", [](DoctorCases& t) { t.Remove("/proc/pressure"); }, State::kWarn, "no pressure",
     "psi=1"},
    {"some", "psi", [](DoctorCases& t) { t.Remove("/proc/pressure/io"); }, State::kOk,
     "cpu, memory", ""},
    {"not there", "qdisc/netem",
     [](DoctorCases& t) { t.trials().qdisc = absl::UnimplementedError("no qdisc netem"); },
     State::kWarn, "no qdisc netem", "modprobe sch_netem"},
    {"not there, on arm64", "qdisc/htb",
     [](DoctorCases& t) {
       t.trials().qdisc = absl::UnimplementedError("no qdisc htb");
       t.site().machine = "aarch64";
     },
     State::kWarn, "no qdisc htb", "apt install linux-image-arm64"},
    {"no classifier", "plane",
     [](DoctorCases& t) { t.trials().plane = absl::FailedPreconditionError("no sink class"); },
     State::kWarn, "no sink class", "CONFIG_NET_CLS_BPF"},
    {"alone", "clock",
     [](DoctorCases& t) {
       t.trials().clock = ClockReading{false, 16'000'000};
     },
     State::kWarn, "nothing keeps", "timesyncd"},
    {"loose", "clock",
     [](DoctorCases& t) {
       t.trials().clock = ClockReading{true, 800'000};
     },
     State::kWarn, "800 ms", "chronyc"},
    {"refused", "clock",
     [](DoctorCases& t) { t.trials().clock = absl::PermissionDeniedError("adjtimex: no"); },
     State::kWarn, "adjtimex: no", "timesyncd"},
    {"low", "disk/injector",
     [](DoctorCases& t) {
       t.trials().space = Space{32 << 20, 1 << 30, false, false};
     },
     State::kWarn, "32 MiB free of 1 GiB", "make room"},
    {"full", "disk/injector",
     [](DoctorCases& t) {
       t.trials().space = Space{1 << 20, 1 << 30, false, false};
     },
     State::kFail, "1 MiB free", "make room"},
    {"low", "disk/collector",
     [](DoctorCases& t) {
       t.trials().space = Space{512 << 20, 1 << 30, false, false};
     },
     State::kWarn, "512 MiB free", "ReadWritePaths="},
    {"read-only", "disk/collector",
     [](DoctorCases& t) {
       t.trials().space = Space{1 << 30, 1 << 30, true, false};
     },
     State::kFail, "read-only", "remount,rw"},
    {"no inodes", "disk/injector",
     [](DoctorCases& t) {
       t.trials().space = Space{1 << 30, 1 << 30, false, true};
     },
     State::kFail, "no inode", "make room"},
    {"not made yet", "disk/injector", [](DoctorCases& t) { t.Remove("/var/lib/faultline"); },
     State::kOk, "will be made", ""},
    {"unknown", "disk/injector",
     [](DoctorCases& t) { t.trials().space = absl::InternalError("statvfs: I/O error"); },
     State::kFail, "I/O error", "make room"},
    {"not there", "config/agent", [](DoctorCases& t) { t.Remove("/etc/faultline/agent.yaml"); },
     State::kWarn, "has its defaults", "faultline-agent --sample-config > "},
    {"not there for its service", "config/agent",
     [](DoctorCases& t) {
       t.Remove("/etc/faultline/agent.yaml");
       t.Write("/lib/systemd/system/faultline-agent.service", "");
     },
     State::kFail, "does not start without it", "faultline-agent --sample-config > "},
    {"not good", "config/agent",
     [](DoctorCases& t) {
       t.trials().program = ProgramEnd{2, "error: agent.yaml:3: there is no key colector"};
     },
     State::kFail, "agent.yaml:3: there is no key colector",
     "/usr/sbin/faultline-agent --check-config --config "},
    {"silent", "config/collector",
     [](DoctorCases& t) {
       t.trials().program = ProgramEnd{139, ""};
     },
     State::kFail, "ended with 139", "--check-config"},
    {"stuck", "config/collector",
     [](DoctorCases& t) { t.trials().program = absl::DeadlineExceededError("did not end"); },
     State::kFail, "did not end", "apt install --reinstall ./faultline-collector_*.deb"},
    {"no program", "config/injector", [](DoctorCases& t) { t.site().programs.erase(kInjector); },
     State::kSkipped, "not installed", "apt install ./faultline-injector_*.deb"},
    {"none, and needed", "certificates",
     [](DoctorCases& t) { t.site().collector = "collector.example:4640"; }, State::kFail,
     "cert.pem", "faultline tls"},
    {"good", "certificates",
     [](DoctorCases& t) {
       t.WriteCertificate(Role::kNode, "edge-7", t.site().now + absl::Hours(24 * 200 + 1));
     },
     State::kOk, "node edge-7, valid for 200 more days", ""},
    {"of a collector", "certificates",
     [](DoctorCases& t) {
       t.WriteCertificate(Role::kCollector, "main", t.site().now + absl::Hours(24 * 20 + 1));
     },
     State::kOk, "collector main, valid for 20", ""},
    {"soon over", "certificates",
     [](DoctorCases& t) {
       t.WriteCertificate(Role::kOperator, "ann", t.site().now + absl::Hours(24 * 13 + 1));
     },
     State::kWarn, "13 more days", "faultline tls operator ann --ca DIR --renew"},
    {"over", "certificates",
     [](DoctorCases& t) {
       t.WriteCertificate(Role::kNode, "edge-7", t.site().now - absl::Hours(1));
     },
     State::kFail, "expired", "faultline tls node edge-7 --ca DIR --renew"},
    {"not yet", "certificates",
     [](DoctorCases& t) {
       t.WriteCertificate(Role::kNode, "edge-7", t.site().now + absl::Hours(1000));
       t.site().now -= absl::Hours(2000);
     },
     State::kFail, "is valid from", "clock"},
    {"broken", "certificates",
     [](DoctorCases& t) {
       t.WriteCertificate(Role::kNode, "edge-7", t.site().now + absl::Hours(1000));
       t.Write("/etc/faultline/tls/cert.pem", "nothing");
     },
     State::kFail, "no certificate in PEM", "faultline tls"},
    {"none, and needed by its file", "certificates/agent",
     [](DoctorCases& t) { t.Write("/etc/faultline/agent.yaml", "collector: 10.0.0.5:4640\n"); },
     State::kFail, "/tls/cert.pem", "faultline tls node"},
    {"none, and needed by its file", "certificates/collector",
     [](DoctorCases& t) { t.Write("/etc/faultline/collector.yaml", "listen: 0.0.0.0:4640\n"); },
     State::kFail, "/tls/cert.pem", "faultline tls collector"},
    {"in the folder that the file names", "certificates/agent",
     [](DoctorCases& t) {
       t.WriteCertificate(Role::kNode, "edge-7", t.site().now + absl::Hours(24 * 200 + 1));
       t.Write("/etc/faultline/agent.yaml", "tls: /etc/faultline/tls\n");
     },
     State::kOk, "node edge-7, valid for 200 more days", ""},
    {"of another role", "certificates/agent",
     [](DoctorCases& t) {
       t.WriteCertificate(Role::kOperator, "ann", t.site().now + absl::Hours(1000));
       t.Write("/etc/faultline/agent.yaml", "collector: 10.0.0.5:4640\n");
     },
     State::kFail, "is of operator ann", "faultline tls node"},
    {"not for its user", "certificates/agent",
     [](DoctorCases& t) {
       t.WriteCertificate(Role::kNode, "edge-7", t.site().now + absl::Hours(1000));
       t.Write("/etc/faultline/agent.yaml", "collector: 10.0.0.5:4640\n");
       t.Write("/lib/systemd/system/faultline-agent.service", "[Service]\nUser=faultline-agent\n");
       t.trials().reading = absl::PermissionDeniedError("faultline-agent may not read it");
     },
     State::kFail, "may not read", "chown -R faultline-agent: "},
    {"not for its user", "config/agent",
     [](DoctorCases& t) {
       t.Write("/lib/systemd/system/faultline-agent.service", "[Service]\nUser=faultline-agent\n");
       t.trials().reading = absl::PermissionDeniedError("faultline-agent may not read it");
     },
     State::kFail, "may not read", "chmod 644 "},
    {"that of the agent's file", "collector",
     [](DoctorCases& t) {
       t.Write("/etc/faultline/agent.yaml", "collector: 10.0.0.5:4640\n");
       t.trials().nodes = absl::UnavailableError("failed to connect to all addresses; refused");
     },
     State::kFail, "cannot connect to 10.0.0.5:4640", "faultline-collector running on 10.0.0.5"},
    {"where its file has it", "disk/collector",
     [](DoctorCases& t) { t.Write("/etc/faultline/collector.yaml", "state-dir: /srv/store\n"); },
     State::kOk, "/srv/store will be made", ""},
    {"nobody, none named", "collector",
     [](DoctorCases& t) {
       t.trials().nodes = absl::UnavailableError("failed to connect to all addresses; refused");
       t.site().programs.erase(kCollector);
     },
     State::kSkipped, "none was named", "--collector HOST:PORT"},
    {"ended", "collector",
     [](DoctorCases& t) {
       t.trials().nodes = absl::UnavailableError("failed to connect to all addresses; refused");
     },
     State::kFail, "cannot connect to 127.0.0.1:4640", "systemctl start faultline-collector"},
    {"nobody there", "collector",
     [](DoctorCases& t) {
       t.trials().nodes = absl::UnavailableError("failed to connect to all addresses; refused");
       t.site().collector = "collector.example:4640";
       t.site().collector_named = true;
     },
     State::kFail, "cannot connect to collector.example", "faultline-collector running"},
    {"stuck", "collector",
     [](DoctorCases& t) { t.trials().nodes = absl::DeadlineExceededError("Deadline Exceeded"); },
     State::kFail, "did not answer", "systemctl status faultline-collector"},
    {"stuck", "injector",
     [](DoctorCases& t) {
       t.trials().capabilities = absl::DeadlineExceededError("Deadline Exceeded");
     },
     State::kFail, "did not answer", "systemctl restart faultline-injector"},
    {"not told", "collector",
     [](DoctorCases& t) {
       t.trials().nodes = Nodes{0, 0, true};
     },
     State::kOk, "127.0.0.1:4640 answers", ""},
    {"not started", "injector", [](DoctorCases& t) { t.Remove("/run/faultline"); }, State::kWarn,
     "not running", "systemctl enable --now faultline-injector"},
    {"dead", "injector",
     [](DoctorCases& t) {
       t.trials().capabilities =
           absl::UnavailableError("failed to connect to all addresses; Connection refused");
     },
     State::kFail, "connection refused", "systemctl restart"},
    {"not for you", "injector",
     [](DoctorCases& t) {
       t.site().is_root = false;
       t.trials().capabilities =
           absl::UnavailableError("failed to connect to all addresses; Permission denied");
     },
     State::kSkipped, "may not connect", "group faultline"},
    {"halted", "injector", [](DoctorCases& t) { t.trials().capabilities->set_halted("smoke"); },
     State::kWarn, "halted: smoke", "release"},
    {"without planes", "injector", [](DoctorCases& t) { t.AddMissing("net.loss", "no plane"); },
     State::kOk, "1 of 2 faults are possible, not net.loss", ""},
    {"not enabled", "injector",
     [](DoctorCases& t) {
       // What a run holds is no fault, so it does not count as one that is possible.
       t.trials().capabilities->mutable_faults(0)->set_hold(true);
       for (const char* type : {"cpu.limit", "net.rate"}) {
         t.AddMissing(type, "its owner has not set `enabled: true` in its file");
       }
     },
     State::kWarn, "none of 2 faults is possible: its owner has not set `enabled: true`",
     "set `enabled: true` in /etc/faultline/injector.yaml and restart faultline-injector"},
    {"able to do nothing", "injector",
     [](DoctorCases& t) {
       t.trials().capabilities->clear_faults();
       t.AddMissing("mem.leak", "the helper is not there; give --helpers");
     },
     State::kWarn, "none of 1 faults is possible: the helper is not there", "give --helpers"},
    {"able to do nothing, without a word on what to do", "injector",
     [](DoctorCases& t) {
       t.trials().capabilities->clear_faults();
       t.AddMissing("net.loss", "no v2 hierarchy is mounted on this host");
     },
     State::kWarn, "none of 1 faults is possible: no v2", "/root.sock status` says why"},
};

class EachOutcome : public DoctorCases, public ::testing::WithParamInterface<Outcome> {};

TEST_P(EachOutcome, IsReached) {
  GetParam().spoil(*this);
  const Verdict verdict = Look(GetParam().check);
  EXPECT_EQ(verdict.state, GetParam().state) << Text(verdict);
  EXPECT_THAT(verdict.found, HasSubstr(GetParam().found));
  EXPECT_THAT(verdict.fix, HasSubstr(GetParam().fix));
  EXPECT_EQ(verdict.fix.empty(), verdict.state == State::kOk) << Text(verdict);
  for (const char* left : {"KERNEL", "KIND"}) EXPECT_THAT(verdict.fix, Not(HasSubstr(left)));
}

INSTANTIATE_TEST_SUITE_P(Doctor, EachOutcome, ::testing::ValuesIn(kOutcomes));

// Elsewhere neither the units that undo nor the removal of the package would find it.
TEST_F(DoctorTest, TheInjectorsJournalStaysWhereItIs) {
  for (const Space& space :
       {Space{1 << 20, 1 << 30, false, false}, Space{1 << 30, 1 << 30, true, false},
        Space{1 << 30, 1 << 30, false, true}}) {
    trials_.space = space;
    const Verdict verdict = Look("disk/injector");
    EXPECT_EQ(verdict.state, State::kFail) << Text(verdict);
    EXPECT_THAT(verdict.fix, Not(HasSubstr("--state-dir")));
  }
}

TEST_F(DoctorTest, ConfigurationIsItsProgramsBusiness) {
  (void)Look("config/injector");
  EXPECT_EQ(trials_.ran,
            (std::vector<std::string>{"/usr/sbin/faultline-injector", "--check-config", "--config",
                                      site_.config_dir + "/injector.yaml"}));
}

}  // namespace
}  // namespace faultline::cli::doctor
