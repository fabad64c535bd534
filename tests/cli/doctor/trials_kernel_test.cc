// SPDX-License-Identifier: Apache-2.0
//
// `faultline doctor` on this machine: what its trials find is compared with bpftool, capsh, the
// kernel's own configuration and /proc, and nothing of them stays.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <map>
#include <set>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/cgroup_tree.h"
#include "cli/doctor/check.h"
#include "cli/json.h"
#include "cli/process.h"
#include "tests/child.h"

namespace faultline::cli::doctor {
namespace {

constexpr char kNoSuchPeer[] = "unix:/nonexistent/faultline.sock";

struct Ran {
  int status = -1;
  std::string out;
};

// stdout and stderr to files, at most 60 s.
Ran Faultline(std::vector<std::string> words, const std::optional<Identity>& identity = {}) {
  const TempDir dir;
  const std::string path = dir.path() + "/out";
  const int out = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  SpawnSpec spec;
  words.insert(words.begin(), FAULTLINE_PROGRAM);
  spec.argv = std::move(words);
  spec.out = out;
  spec.no_input = true;
  spec.identity = identity;
  spec.parent_death_signal = SIGKILL;
  ::sigemptyset(&spec.mask);
  absl::StatusOr<Process> process = Process::Spawn(spec);
  EXPECT_TRUE(process.ok() && process->AwaitExec().ok());
  ::close(out);
  Ran ran;
  const std::optional<int> status = process->Wait(absl::Seconds(60));
  if (status) ran.status = ShellStatus(*status);
  process->End(absl::Seconds(1));
  ran.out = Slurp(path);
  return ran;
}

// State by check.
std::map<std::string, std::string> States(const std::string& text) {
  std::map<std::string, std::string> states;
  const Json json = Json::parse(text, nullptr, false);
  EXPECT_FALSE(json.is_discarded()) << text;
  if (json.is_discarded()) return states;
  for (const Json& check : json["checks"]) states[check["name"]] = check["state"];
  return states;
}

// Whether the kernel was built with `option`, "y" or "m"; empty if it does not say.
std::string KernelOption(const std::string& option) {
  std::string text;
  // Not zcat: a script cannot be run by descriptor.
  RunToEnd({"/bin/gzip", "-dc", "/proc/config.gz"}, &text);
  if (text.find("CONFIG_") == std::string::npos) {
    std::string release;
    RunToEnd({"/bin/uname", "-r"}, &release);
    text = Slurp("/boot/config-" + release.substr(0, release.find('\n')));
  }
  if (text.empty()) return "";
  const size_t at = text.find("\n" + option + "=");
  return at == std::string::npos ? "n" : text.substr(at + option.size() + 2, 1);
}

std::string GroupMount() {
  const absl::StatusOr<CgroupTree> tree = CgroupTree::Read();
  return tree.ok() && tree->V2() != nullptr ? tree->V2()->mount : "";
}

// Groups of doctors.
std::set<std::string> Groups() {
  std::set<std::string> names;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(GroupMount(), error)) {
    const std::string name = entry.path().filename();
    if (absl::StartsWith(name, "faultline-doctor-")) names.insert(name);
  }
  return names;
}

// Names of programs in the kernel, as bpftool lists them; of ours only.
std::multiset<std::string> Programs() {
  std::string text;
  EXPECT_EQ(RunToEnd({"/usr/sbin/bpftool", "-j", "prog", "show"}, &text), 0) << text;
  std::multiset<std::string> names;
  const Json list = Json::parse(text, nullptr, false);
  for (const Json& program : list) {
    const std::string name = program.value("name", "");
    for (const Check& check : Checks()) {
      if (absl::StartsWith(check.name, "bpf/") && name == check.object) names.insert(name);
    }
  }
  return names;
}

// The kernel frees programs after a grace period.
void ExpectNothingLeft() {
  for (int i = 0; i < 100 && !Programs().empty(); ++i) absl::SleepFor(absl::Milliseconds(20));
  EXPECT_THAT(Programs(), ::testing::IsEmpty());
  EXPECT_THAT(Groups(), ::testing::IsEmpty());
}

class DoctorKernelTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "trying BPF programs needs root";
  }
};

class EachProgram : public DoctorKernelTest, public ::testing::WithParamInterface<std::string> {};

// bpftool asks the kernel in its own way; that of tracing programs needs fentry, which lockdown may
// deny while tracepoints work, so there the trial is only held to its own standard.
bool BpftoolKnows(const std::string& program) {
  std::string text;
  RunToEnd({"/usr/sbin/bpftool", "-j", "feature", "probe", "kernel"}, &text);
  const Json features = Json::parse(text, nullptr, false);
  if (features.is_discarded()) return true;
  const Json& programs = features["program_types"];
  const Json& maps = features["map_types"];
  if (absl::StartsWith(program, "cgroup_")) return programs["have_cgroup_skb_prog_type"];
  if (program == "plain_tp" || program == "test_run") {
    return programs["have_raw_tracepoint_prog_type"];
  }
  if (program == "task_storage") return maps["have_task_storage_map_type"];
  if (program == "sk_storage") return maps["have_sk_storage_map_type"];
  return true;
}

TEST_P(EachProgram, WorksWhereBpftoolSaysThatItMay) {
  if (GetParam() == "tcx") {
    // enum bpf_attach_type has it since 6.6.
    std::string types;
    RunToEnd({"/usr/sbin/bpftool", "btf", "dump", "file", "/sys/kernel/btf/vmlinux"}, &types);
    const bool known = absl::StrContains(types, "'BPF_TCX_EGRESS'");
    const absl::Status status = TryBpf("tcx");
    EXPECT_EQ(status.ok(), known) << status;
    return;
  }
  const absl::Status status = TryBpf(GetParam());
  EXPECT_EQ(status.ok(), BpftoolKnows(GetParam())) << status;
  ExpectNothingLeft();
}

std::vector<std::string> Objects(absl::string_view prefix) {
  std::vector<std::string> objects;
  for (const Check& check : Checks()) {
    if (absl::StartsWith(check.name, prefix)) objects.emplace_back(check.object);
  }
  return objects;
}

INSTANTIATE_TEST_SUITE_P(Doctor, EachProgram, ::testing::ValuesIn(Objects("bpf/")),
                         [](const auto& param) { return param.param; });

TEST_F(DoctorKernelTest, QdiscsAreThoseOfTheKernelsConfiguration) {
  const std::map<std::string, std::string> options{{"htb", "CONFIG_NET_SCH_HTB"},
                                                   {"tbf", "CONFIG_NET_SCH_TBF"},
                                                   {"netem", "CONFIG_NET_SCH_NETEM"}};
  for (const std::string& kind : Objects("qdisc/")) {
    const std::string built = KernelOption(options.at(kind));
    if (built.empty()) GTEST_SKIP() << "this kernel does not tell its configuration";
    const absl::Status status = TryQdisc(kind);
    // A module may have been left out of this machine.
    if (built == "m" && !status.ok()) continue;
    EXPECT_EQ(status.ok(), built != "n") << kind << ": " << status;
    if (!status.ok()) {
      EXPECT_TRUE(absl::IsUnimplemented(status)) << status;
    }
  }
  EXPECT_TRUE(absl::IsUnimplemented(TryQdisc("nosuchqdisc")));
}

TEST_F(DoctorKernelTest, QdiscsOfTheHostStay) {
  std::string before;
  std::string after;
  ASSERT_EQ(RunToEnd({"/sbin/tc", "qdisc", "show"}, &before), 0);
  for (const std::string& kind : Objects("qdisc/")) (void)TryQdisc(kind);
  (void)TryPlane();
  (void)TryTcx();
  ASSERT_EQ(RunToEnd({"/sbin/tc", "qdisc", "show"}, &after), 0);
  EXPECT_EQ(before, after);
}

TEST_F(DoctorKernelTest, PlaneStandsWhereTheKernelHasItsParts) {
  const std::string htb = KernelOption("CONFIG_NET_SCH_HTB");
  const std::string classifier = KernelOption("CONFIG_NET_CLS_BPF");
  if (htb != "y" || classifier != "y") GTEST_SKIP() << "htb and cls_bpf are not built in here";
  EXPECT_EQ(TryPlane(), absl::OkStatus());
}

TEST_F(DoctorKernelTest, LeftoverOfAKilledDoctorIsRemoved) {
  if (GroupMount().empty()) GTEST_SKIP() << "no cgroup v2 here";
  const pid_t dead = ::fork();
  if (dead == 0) ::_exit(0);
  ::waitpid(dead, nullptr, 0);
  const std::string left = absl::StrCat(GroupMount(), "/faultline-doctor-", dead);
  ASSERT_EQ(::mkdir(left.c_str(), 0755), 0);
  EXPECT_EQ(TryBpf("cgroup_ingress"), absl::OkStatus());
  EXPECT_NE(::access(left.c_str(), F_OK), 0) << left;
  ::rmdir(left.c_str());
  ExpectNothingLeft();
}

TEST_F(DoctorKernelTest, RootSeesWhatTheKernelSays) {
  const Ran ran = Faultline({"doctor", "--json", "--for", "agent,injector"});
  const std::map<std::string, std::string> states = States(ran.out);
  ASSERT_EQ(states.size(), Checks().size()) << ran.out;
  EXPECT_EQ(states.at("kernel"), "ok");
  EXPECT_EQ(states.at("btf"), KernelOption("CONFIG_DEBUG_INFO_BTF") == "n" ? "fail" : "ok");
  EXPECT_EQ(states.at("disk/collector"), "skipped");
  EXPECT_EQ(states.at("psi") == "ok", absl::StartsWith(Slurp("/proc/pressure/cpu"), "some"));
  for (const char* check : {"bpf/tp_btf", "bpf/raw_tp", "bpf/iter_task", "bpf/test_run"}) {
    EXPECT_EQ(states.at(check), "ok") << check << "\n" << ran.out;
  }
  bool failed = false;
  for (const auto& [check, state] : states) failed |= state == "fail";
  EXPECT_EQ(ran.status, failed ? 1 : 0) << ran.out;
  ExpectNothingLeft();
}

// capsh reads the capabilities of a process of its own, started as ours is.
TEST_F(DoctorKernelTest, CapabilitiesAreThoseThatCapshSees) {
  bool all = true;
  for (const char* name : {"cap_dac_override", "cap_net_admin", "cap_sys_admin"}) {
    std::string said;
    all &= RunToEnd({"/sbin/capsh", absl::StrCat("--has-p=", name)}, &said) == 0;
  }
  const Ran ran = Faultline({"doctor", "--json", "--for", "agent,injector"});
  EXPECT_EQ(States(ran.out)["capabilities"], all ? "ok" : "warn") << ran.out;
}

TEST_F(DoctorKernelTest, AUserIsToldWhatNeedsRoot) {
  Identity nobody;
  nobody.uid = nobody.gid = kNobody;
  const Ran ran = Faultline({"doctor", "--json", "--for", "agent,injector"}, nobody);
  std::map<std::string, std::string> states = States(ran.out);
  for (const Check& check : Checks()) {
    if (check.capabilities != 0) {
      EXPECT_EQ(states[check.name], "skipped") << check.name;
    }
  }
  EXPECT_EQ(states["capabilities"], "skipped");
  EXPECT_EQ(states["kernel"], "ok");
  EXPECT_EQ(states["btf"], "ok");
  EXPECT_EQ(ran.status, 0) << ran.out;
}

// The agent's own rights are enough to try what the agent does.
TEST_F(DoctorKernelTest, BpfAndPerfmonAreEnoughForTheAgentsChecks) {
  Identity agent;
  agent.uid = agent.gid = kNobody;
  // CAP_PERFMON and CAP_BPF.
  agent.capabilities = Bit(38) | Bit(39);
  const Ran ran = Faultline({"doctor", "--json", "--for", "agent"}, agent);
  std::map<std::string, std::string> states = States(ran.out);
  EXPECT_EQ(states["capabilities"], "ok");
  for (const char* check : {"bpf/tp_btf", "bpf/raw_tp", "bpf/iter_task", "bpf/test_run"}) {
    EXPECT_EQ(states[check], "ok") << check << "\n" << ran.out;
  }
  EXPECT_EQ(states["bpf/tcx"], "skipped");
  EXPECT_EQ(ran.status, 0) << ran.out;
}

TEST(DoctorReading, IsThatOfTheNamedUser) {
  const TempDir dir;
  const std::string path = dir.path() + "/agent.yaml";
  ASSERT_EQ(::close(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600)), 0);
  EXPECT_TRUE(absl::IsPermissionDenied(TryReading("nobody", path)));
  ASSERT_EQ(::chmod(dir.path().c_str(), 0755), 0);
  EXPECT_TRUE(absl::IsPermissionDenied(TryReading("nobody", path)));
  ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
  EXPECT_EQ(TryReading("nobody", path), absl::OkStatus());
  ASSERT_EQ(::chmod(dir.path().c_str(), 0700), 0);
  EXPECT_TRUE(absl::IsPermissionDenied(TryReading("nobody", path)));
  // Only the thread that tried was another.
  EXPECT_EQ(TryReading("root", path), absl::OkStatus());
  EXPECT_TRUE(absl::IsNotFound(TryReading("no-such-user", path)));
}

TEST_F(DoctorKernelTest, NothingStaysOfOneThatIsKilled) {
  for (int round = 0; round < 10; ++round) {
    Child doctor({FAULTLINE_PROGRAM, "--collector", kNoSuchPeer, "doctor", "--json"},
                 {.output = "/dev/null"});
    // Its trials take 100 to 400 ms together.
    absl::SleepFor(absl::Milliseconds(20 + 40 * round));
    doctor.Signal(round % 2 == 0 ? SIGKILL : SIGTERM);
    doctor.Wait(10'000'000'000);
  }
  // Its link is gone with it; an empty group may be there until the next one looks.
  EXPECT_EQ(TryBpf("cgroup_egress"), absl::OkStatus());
  ExpectNothingLeft();
}

}  // namespace
}  // namespace faultline::cli::doctor
