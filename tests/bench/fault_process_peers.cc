// SPDX-License-Identifier: Apache-2.0
//
// Memory and CPU time as people take them away today, `stress-ng` and `cpulimit`, beside mem.leak,
// cpu.load and cpu.limit: what of the asked is given, and what it costs.
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "tests/bench/faults_parts.h"
#include "tests/child.h"
#include "tests/kernel/host_digest.h"
#include "tests/trials/families.h"
#include "tests/trials/site.h"
#include "tests/witness/now.h"
#include "tests/witness/stalls.h"

namespace faultline {
namespace {

constexpr int kToolRounds = 5;
constexpr std::int64_t kMemoryMiB = 256;
constexpr std::int64_t kMeasuredMs = 3000;
// Until the memory is there, or the limiter has settled.
constexpr std::int64_t kSettleMs = 1500;
constexpr double kCpus = 0.5;

// What one round gave, relative to what was asked, less 1, and CPU time that the tool itself used
// meanwhile, in percent of one CPU.
struct Given {
  std::vector<double> error_pct;
  std::vector<double> cpu_pct;

  void Add(double given, double asked, std::int64_t cpu_ns) {
    error_pct.push_back(100 * std::fabs(given / asked - 1));
    cpu_pct.push_back(100 * static_cast<double>(cpu_ns) / (kMeasuredMs * witness::kMs));
  }
};

// Bytes that the kernel charges the group.
double UsageMiB(const TestCgroup& group) {
  std::string text = group.Read("memory", "memory.usage_in_bytes");
  if (text.empty()) text = group.Read("memory", "memory.current");
  double bytes = 0;
  return absl::SimpleAtod(text, &bytes) ? bytes / (1 << 20) : 0;
}

// Of all processes in the group, and its children that stress-ng makes.
std::int64_t GroupCpuNs(const TestCgroup& group) {
  std::int64_t ns = 0;
  if (absl::SimpleAtoi(group.Read("cpuacct", "cpuacct.usage"), &ns)) return ns;
  const std::string text = group.Read("cpu", "cpu.stat");
  const std::size_t at = text.find("usage_usec ");
  if (at == std::string::npos) return 0;
  return std::strtoll(text.c_str() + at + std::string("usage_usec ").size(), nullptr, 10) * 1000;
}

absl::Status RunLeak(TrialSite* site, Given* given) {
  const double before = UsageMiB(site->group());
  v1::FaultSpec spec = site->Spec("mem.leak", 60);
  (*spec.mutable_parameters())["bytes"] = absl::StrCat(kMemoryMiB, "MiB");
  (*spec.mutable_parameters())["rate"] = "1GiB/s";
  if (const auto started = site->injector().Inject(spec); !started.ok()) return started.status();
  witness::SleepForMs(kSettleMs);
  const std::vector<pid_t> helpers = Helpers(spec.id());
  if (helpers.size() != 1) return absl::InternalError("mem.leak has no helper");
  const auto used_ns = [site, &helpers] {
    return witness::CpuNs(helpers[0]) + witness::CpuNs(site->injector().pid());
  };
  const std::int64_t cpu_ns = used_ns();
  witness::SleepForMs(kMeasuredMs);
  given->Add(UsageMiB(site->group()) - before, kMemoryMiB, used_ns() - cpu_ns);
  return site->injector().Stop(spec.id()).status();
}

// Unimplemented: a peer that is not there has given nothing, which is no figure.
absl::Status IsThere(const char* tool) {
  if (::access(tool, X_OK) == 0) return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat("there is no ", tool, ": ./run bench installs it"));
}

// In the group, where `measure` is called when it has settled.
absl::Status RunStressNg(TrialSite* site, const std::vector<std::string>& options,
                         const std::function<void()>& measure) {
  if (absl::Status there = IsThere("/usr/bin/stress-ng"); !there.ok()) return there;
  const absl::StatusOr<pid_t> peer = site->group().Spawn([&options] {
    std::vector<std::string> words{"stress-ng", "--quiet", "--timeout", "60"};
    words.insert(words.end(), options.begin(), options.end());
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    ::execv("/usr/bin/stress-ng", argv.data());
    return 127;
  });
  if (!peer.ok()) return peer.status();
  witness::SleepForMs(kSettleMs);
  measure();
  // Its children end with it when it is asked to.
  ::kill(*peer, SIGTERM);
  site->group().Wait(*peer);
  return absl::OkStatus();
}

absl::Status RunStressVm(TrialSite* site, Given* given) {
  const double before = UsageMiB(site->group());
  const auto measure = [site, before, given] {
    const std::int64_t cpu_ns = GroupCpuNs(site->group());
    witness::SleepForMs(kMeasuredMs);
    given->Add(UsageMiB(site->group()) - before, kMemoryMiB, GroupCpuNs(site->group()) - cpu_ns);
  };
  return RunStressNg(site, {"--vm", "1", "--vm-bytes", absl::StrCat(kMemoryMiB, "M"), "--vm-keep"},
                     measure);
}

// CPU time that the group's processes take, of which all is what was asked for; `tool`: who sees to
// it from outside, 0: nobody.
void MeasureLoad(TrialSite* site, pid_t tool, Given* given) {
  const auto tool_ns = [tool] { return tool == 0 ? 0 : witness::CpuNs(tool); };
  const std::int64_t tool_before_ns = tool_ns();
  const std::int64_t before_ns = GroupCpuNs(site->group());
  const std::int64_t begin_ns = witness::NowNs();
  witness::SleepForMs(kMeasuredMs);
  const auto used = static_cast<double>(GroupCpuNs(site->group()) - before_ns);
  given->Add(used / static_cast<double>(witness::NowNs() - begin_ns), kCpus,
             tool_ns() - tool_before_ns);
}

absl::Status RunLoad(TrialSite* site, Given* given) {
  v1::FaultSpec spec = site->Spec("cpu.load", 60);
  (*spec.mutable_parameters())["cpus"] = absl::StrCat(kCpus);
  if (const auto started = site->injector().Inject(spec); !started.ok()) return started.status();
  witness::SleepForMs(kSettleMs);
  MeasureLoad(site, site->injector().pid(), given);
  return site->injector().Stop(spec.id()).status();
}

absl::Status RunStressCpu(TrialSite* site, Given* given) {
  return RunStressNg(site, {"--cpu", "1", "--cpu-load", absl::StrCat(kCpus * 100)},
                     [site, given] { MeasureLoad(site, 0, given); });
}

// CPU time that `pid` gets, in CPUs, and what `tool` (0: none) uses meanwhile.
void MeasureCpu(pid_t pid, pid_t tool, Given* given) {
  witness::SleepForMs(kSettleMs);
  const auto tool_ns = [tool] { return tool == 0 ? 0 : witness::CpuNs(tool); };
  const std::int64_t tool_before_ns = tool_ns();
  const std::int64_t before_ns = witness::CpuNs(pid);
  const std::int64_t begin_ns = witness::NowNs();
  witness::SleepForMs(kMeasuredMs);
  const auto used = static_cast<double>(witness::CpuNs(pid) - before_ns);
  given->Add(used / static_cast<double>(witness::NowNs() - begin_ns), kCpus,
             tool_ns() - tool_before_ns);
}

absl::Status RunLimit(TrialSite* site, pid_t spinner, Given* given) {
  v1::FaultSpec spec = site->Spec("cpu.limit", 60);
  (*spec.mutable_parameters())["cpus"] = absl::StrCat(kCpus);
  if (const auto started = site->injector().Inject(spec); !started.ok()) return started.status();
  MeasureCpu(spinner, site->injector().pid(), given);
  return site->injector().Stop(spec.id()).status();
}

absl::Status RunCpulimit(pid_t spinner, Given* given) {
  if (absl::Status there = IsThere("/usr/bin/cpulimit"); !there.ok()) return there;
  Child peer(
      {"/usr/bin/cpulimit", "--limit", absl::StrCat(kCpus * 100), "--pid", absl::StrCat(spinner)},
      {"/dev/null", -1});
  MeasureCpu(spinner, peer.pid(), given);
  const bool ran = peer.running();
  peer.End();
  ::kill(spinner, SIGCONT);
  return ran ? absl::OkStatus() : absl::UnavailableError("cpulimit ended by itself");
}

void AddGiven(const std::string& fault, const std::string& tool, const Given& ours,
              const Given& peer, Figures* figures) {
  figures->push_back({.name = absl::StrCat("given beside asked, ", fault),
                      .value = Median(ours.error_pct),
                      .unit = "% off",
                      .peer = tool,
                      .peer_value = Median(peer.error_pct),
                      .reach_value = 2,
                      .note = absl::StrCat("the middle of ", ours.error_pct.size(),
                                           " rounds, one of ours and one of theirs by turns.")});
  figures->push_back({.name = absl::StrCat("CPU that ", fault, " uses itself"),
                      .value = Median(ours.cpu_pct),
                      .unit = "% of one CPU",
                      .peer = tool,
                      .peer_value = Median(peer.cpu_pct)});
}

absl::StatusOr<std::unique_ptr<TrialSite>> SiteFor(const char* type) {
  absl::StatusOr<std::unique_ptr<TrialSite>> site = TrialSite::Create();
  if (!site.ok()) return site;
  if (absl::Status can = (*site)->Check(type); !can.ok()) return can;
  return site;
}

using ToolRound = std::function<absl::Status(Given*)>;

// Rounds of ours and of the tool's by turns.
absl::Status CompareWith(const std::string& tool, const std::string& fault, const ToolRound& ours,
                         const ToolRound& peer, Figures* figures) {
  Given of_ours;
  Given of_peer;
  for (int i = 0; i < std::min(TrialCount(kToolRounds), kToolRounds); ++i) {
    absl::Status status = ours(&of_ours);
    if (status.ok()) status = peer(&of_peer);
    if (!status.ok()) return status;
  }
  AddGiven(fault, tool, of_ours, of_peer, figures);
  return absl::OkStatus();
}

// The same, where both put processes of their own into the group.
absl::Status CompareInside(const char* type, const std::string& tool, const std::string& fault,
                           absl::Status (*ours)(TrialSite*, Given*),
                           absl::Status (*peer)(TrialSite*, Given*), Figures* figures) {
  const absl::StatusOr<std::unique_ptr<TrialSite>> made = SiteFor(type);
  if (!made.ok()) return made.status();
  TrialSite* const site = made->get();
  if (absl::Status status = site->AddSleeper(); !status.ok()) return status;
  return CompareWith(
      tool, fault, [=](Given* given) { return ours(site, given); },
      [=](Given* given) { return peer(site, given); }, figures);
}

}  // namespace

absl::Status BenchLeakPeer(const BenchPlace& /*place*/, Figures* figures) {
  return CompareInside("mem.leak", "stress-ng --vm 1 --vm-bytes 256M --vm-keep",
                       "mem.leak of 256 MiB", RunLeak, RunStressVm, figures);
}

absl::Status BenchLoadPeer(const BenchPlace& /*place*/, Figures* figures) {
  return CompareInside("cpu.load", "stress-ng --cpu 1 --cpu-load 50", "cpu.load of 0.5 CPU",
                       RunLoad, RunStressCpu, figures);
}

absl::Status BenchLimitPeer(const BenchPlace& /*place*/, Figures* figures) {
  const absl::StatusOr<std::unique_ptr<TrialSite>> site = SiteFor("cpu.limit");
  if (!site.ok()) return site.status();
  witness::Stalls stalls(witness::kSecond);
  const absl::StatusOr<pid_t> spinner = (*site)->group().Spawn([&stalls] { return stalls.Spin(); });
  if (!spinner.ok()) return spinner.status();
  absl::Status status = CompareWith(
      "cpulimit --limit 50", "cpu.limit of 0.5 CPU",
      [&](Given* given) { return RunLimit(site->get(), *spinner, given); },
      [&](Given* given) { return RunCpulimit(*spinner, given); }, figures);
  // Before what it writes to is gone.
  (*site)->group().Empty();
  return status;
}

}  // namespace faultline
