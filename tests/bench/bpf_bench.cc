// SPDX-License-Identifier: Apache-2.0
#include <bpf/bpf.h>
#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/clock.h"
#include "base/log.h"
#include "tests/bench/bpf_load.h"
#include "tests/bench/figure.h"
#include "tests/child.h"

namespace faultline {
namespace {

// Even, as every other round starts the peers before the agent: whichever program runs second at a
// hook finds the fields in the cache.
constexpr int kRounds = 8;
constexpr std::int64_t kQuietNs = 2 * kNsPerSecond;
constexpr std::int64_t kLoadNs = 3 * kNsPerSecond;
// Fewer runs than this in a round say nothing; but readings are few by their nature.
constexpr std::uint64_t kFewRuns = 20;
constexpr const char* kPerReading = "charge_running";

// Programs of libbpf-tools that do the like at the same hook, best first; runqlat's sched_switch,
// which all of them are measured against when nothing nearer loads, comes last by itself.
struct Peer {
  const char* ours;
  const char* tool;
  const char* program;
};
constexpr std::array kPeers{
    Peer{"task_exit", "exitsnoop", "sched_process_e"},
    Peer{"block_issue", "biolatency", "block_rq_issue"},
    Peer{"block_end", "biolatency", "block_rq_comple"},
    Peer{"tcp_packet", "tcprtt", "tcp_rcv"},
    Peer{"tcp_state", "tcplife", "inet_sock_set_s"},
    Peer{"memcg_begin", "drsnoop", "direct_reclaim_"},
    Peer{"memcg_end", "drsnoop", "direct_reclaim_"},
};
constexpr const char* kYardstickTool = "runqlat";
constexpr const char* kYardstick = "sched_switch";

struct Remark {
  const char* ours;
  const char* text;
};
constexpr std::array kRemarks{
    Remark{
        "charge_running",
        "once per CPU and reading, not per event, by an interrupt on a CPU that may be asleep: the "
        "caches are cold, so it stands beside the peer's program on a machine that has nothing to "
        "do. At 1 Hz its cost per second is this number times the CPUs."},
    Remark{
        "tcp_packet",
        "tcprtt, which is nearest, hooks the same packets by a kprobe and is the peer where that "
        "loads."},
    Remark{"task_exit",
           "once per task that ends; nothing runs when one is born. exitsnoop's program sends each "
           "event to user space, which wakes its reader."},
    Remark{"tcp_state", "tcplife's program also sends each connection to user space at its end."},
    Remark{"tasks_visit",
           "once per task and reading, in the agent's own time; the peer is what procps, pidstat "
           "and their kin do for the same numbers."},
};

struct Cost {
  std::string name;
  std::uint64_t run_time_ns = 0;
  std::uint64_t runs = 0;
};
using Programs = std::map<std::uint32_t, Cost>;

// Every program in the kernel by id, with its counts since it was loaded.
Programs ReadPrograms() {
  Programs programs;
  std::uint32_t id = 0;
  while (bpf_prog_get_next_id(id, &id) == 0) {
    const int fd = bpf_prog_get_fd_by_id(id);
    if (fd < 0) continue;
    bpf_prog_info info{};
    std::uint32_t size = sizeof(info);
    if (bpf_obj_get_info_by_fd(fd, &info, &size) == 0) {
      programs[id] = {info.name, info.run_time_ns, info.run_cnt};
    }
    ::close(fd);
  }
  return programs;
}

// Waits until something started has loaded its programs: none that is not in `known` has come for a
// while.
void WaitForPrograms(const Programs& known) {
  Clock& clock = Clock::System();
  std::set<std::uint32_t> ids;
  int quiet = 0;
  for (int i = 0; i < 50 && quiet < 5; ++i) {
    clock.WaitUntil(clock.Now().boottime_ns + 100 * kNsPerMs, {});
    std::set<std::uint32_t> now;
    for (const auto& entry : ReadPrograms()) {
      if (!known.contains(entry.first)) now.insert(entry.first);
    }
    quiet = !now.empty() && now == ids ? quiet + 1 : 0;
    ids = std::move(now);
  }
}

// The programs that a process holds descriptors of: nobody else's that came at the same time.
std::set<std::uint32_t> ProgramsOf(pid_t pid) {
  std::set<std::uint32_t> ids;
  std::error_code error;
  const std::string folder = absl::StrCat("/proc/", pid, "/fdinfo");
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    for (const absl::string_view line : absl::StrSplit(Slurp(entry.path()), '\n')) {
      std::uint32_t id = 0;
      if (absl::StartsWith(line, "prog_id:") &&
          absl::SimpleAtoi(absl::StripAsciiWhitespace(line.substr(8)), &id)) {
        ids.insert(id);
      }
    }
  }
  return ids;
}

Child StartAgent(const BenchPlace& place) {
  return Child({place.bin + "/faultline-agent", "--node", "bench", "--collector",
                "unix:" + place.temp + "/nobody-listens"},
               {place.temp + "/agent.log", kNobody});
}

std::vector<Child> StartPeers(const BenchPlace& place) {
  std::vector<Child> children;
  std::set<std::string> tools{kYardstickTool};
  for (const Peer& peer : kPeers) tools.insert(peer.tool);
  for (const std::string& tool : tools) {
    std::vector<std::string> argv{"/usr/sbin/" + tool};
    // These print a histogram per interval; once, far off.
    if (tool == "runqlat" || tool == "biolatency") argv.insert(argv.end(), {"600", "1"});
    children.emplace_back(std::move(argv), Child::Options{place.temp + "/" + tool + ".log", -1});
  }
  return children;
}

// ns per run, by the name of the program.
struct Costs {
  std::map<std::string, double> ours;
  std::map<std::string, double> peers;
};
struct Round {
  // Nothing to do: events are rare and meet cold caches.
  Costs quiet;
  Costs load;
  // Every program of the agent.
  std::set<std::string> agent;
};

Costs Between(const Programs& begin, const Programs& end, const Programs& before,
              const std::set<std::uint32_t>& ours) {
  Costs costs;
  for (const auto& [id, cost] : end) {
    const auto start = begin.find(id);
    if (start == begin.end() || before.contains(id)) continue;
    const std::uint64_t runs = cost.runs - start->second.runs;
    if (runs < (cost.name == kPerReading ? 2 : kFewRuns)) continue;
    (ours.contains(id) ? costs.ours : costs.peers)[cost.name] =
        static_cast<double>(cost.run_time_ns - start->second.run_time_ns) /
        static_cast<double>(runs);
  }
  return costs;
}

absl::StatusOr<Round> RunRound(const BenchPlace& place, bool agent_first) {
  const Programs before = ReadPrograms();
  Child agent;
  std::vector<Child> peers;
  if (agent_first) {
    agent = StartAgent(place);
    WaitForPrograms(before);
    const Programs known = ReadPrograms();
    peers = StartPeers(place);
    WaitForPrograms(known);
  } else {
    peers = StartPeers(place);
    WaitForPrograms(before);
    const Programs known = ReadPrograms();
    agent = StartAgent(place);
    WaitForPrograms(known);
  }
  const std::set<std::uint32_t> ours = ProgramsOf(agent.pid());
  Clock& clock = Clock::System();
  const Programs begin = ReadPrograms();
  clock.WaitUntil(clock.Now().boottime_ns + kQuietNs, {});
  const Programs busy = ReadPrograms();
  const absl::Status load = RunBpfLoad(place.temp, clock.Now().boottime_ns + kLoadNs);
  if (!load.ok()) return load;
  Round round{Between(begin, busy, before, ours), Between(busy, ReadPrograms(), before, ours), {}};
  for (const std::uint32_t id : ours) {
    if (begin.contains(id)) round.agent.insert(begin.at(id).name);
  }
  if (round.load.ours.empty() || !round.load.peers.contains(kYardstick)) {
    return absl::InternalError(absl::StrCat("no program ran: ", Slurp(place.temp + "/agent.log"),
                                            Slurp(place.temp + "/runqlat.log")));
  }
  return round;
}

// ns that a look at /proc/PID/stat takes, per task: what procps do.
double ReadStats() {
  int tasks = 0;
  const std::int64_t begin = Clock::System().Now().boottime_ns;
  DIR* const proc = ::opendir("/proc");
  while (const dirent* entry = proc == nullptr ? nullptr : ::readdir(proc)) {
    if (std::isdigit(static_cast<unsigned char>(entry->d_name[0])) == 0) continue;
    const int fd = ::open(absl::StrCat("/proc/", entry->d_name, "/stat").c_str(), O_RDONLY);
    std::array<char, 1024> text{};
    if (fd >= 0 && ::read(fd, text.data(), text.size()) > 0) ++tasks;
    ::close(fd);
  }
  if (proc != nullptr) ::closedir(proc);
  return static_cast<double>(Clock::System().Now().boottime_ns - begin) / std::max(1, tasks);
}

// The tools that hook tracepoints by name need tracefs; mounted for us and our children alone.
void MountTracefs() {
  if (::access("/sys/kernel/tracing/events", F_OK) == 0) return;
  if (::unshare(CLONE_NEWNS) != 0 ||
      ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, nullptr) != 0) {
    LogWarning("tracefs cannot be mounted: some peers will not load");
  }
}

std::optional<double> MedianOf(const std::vector<Round>& rounds, Costs Round::*phase,
                               std::map<std::string, double> Costs::*side,
                               const std::string& name) {
  std::vector<double> values;
  for (const Round& round : rounds) {
    const std::map<std::string, double>& programs = round.*phase.*side;
    const auto found = std::find_if(programs.begin(), programs.end(), [&name](const auto& entry) {
      return absl::StartsWith(entry.first, name);
    });
    if (found != programs.end()) values.push_back(found->second);
  }
  if (values.empty()) return std::nullopt;
  return Median(std::move(values));
}

void ChoosePeer(const std::vector<Round>& rounds, const std::string& name, Figure* figure) {
  for (const Peer& peer : kPeers) {
    if (name != peer.ours) continue;
    figure->peer_value = MedianOf(rounds, &Round::load, &Costs::peers, peer.program);
    figure->peer = absl::StrCat(peer.tool, "'s program on the hook");
    if (figure->peer_value.has_value()) return;
  }
  figure->peer_value = MedianOf(rounds, &Round::load, &Costs::peers, kYardstick);
  figure->peer = "runqlat's sched_switch";
}

Figure ProgramFigure(const std::vector<Round>& rounds, const std::string& name) {
  Figure figure;
  figure.name = absl::StrCat("BPF program ", name);
  figure.unit = "ns per event";
  figure.reach_ratio = 2.0;
  for (const Remark& remark : kRemarks) {
    if (name == remark.ours) figure.note = remark.text;
  }
  if (name == kPerReading) {
    figure.value = MedianOf(rounds, &Round::quiet, &Costs::ours, name).value_or(0);
    figure.peer_value = MedianOf(rounds, &Round::quiet, &Costs::peers, kYardstick);
    figure.peer = "runqlat's sched_switch, machine quiet";
    return figure;
  }
  figure.value = MedianOf(rounds, &Round::load, &Costs::ours, name).value_or(0);
  ChoosePeer(rounds, name, &figure);
  if (!absl::StartsWith(figure.peer, kYardstickTool)) {
    absl::StrAppend(&figure.note, figure.note.empty() ? "" : " ", "In the same run runqlat's ",
                    "sched_switch took ",
                    std::lround(*MedianOf(rounds, &Round::load, &Costs::peers, kYardstick)),
                    " ns.");
  }
  return figure;
}

// Those of the agent's programs that nothing called.
Figure Unreached(const std::vector<Round>& rounds, const std::set<std::string>& reached) {
  std::vector<std::string> names;
  for (const std::string& name : rounds.front().agent) {
    if (!reached.contains(name)) names.push_back(name);
  }
  Figure figure;
  figure.name = "BPF programs that the load does not reach";
  figure.value = static_cast<double>(names.size());
  figure.unit = "programs";
  figure.note = absl::StrCat(
      absl::StrJoin(names, ", "),
      ": lost packets and memory that runs out need more than a bench may do to its host.");
  return figure;
}

}  // namespace

absl::Status BenchBpf(const BenchPlace& place, Figures* figures) {
  MountTracefs();
  // The switch holds as long as the descriptor, and cannot stay behind.
  const int stats = bpf_enable_stats(BPF_STATS_RUN_TIME);
  if (stats < 0) return absl::FailedPreconditionError("the kernel counts no BPF run time");
  std::vector<Round> rounds;
  std::vector<double> proc_stat;
  for (int i = 0; i < kRounds; ++i) {
    LogInfo("BPF programs beside libbpf-tools, round ", i + 1, " of ", kRounds);
    absl::StatusOr<Round> round = RunRound(place, i % 2 == 0);
    if (!round.ok()) return round.status();
    rounds.push_back(*std::move(round));
    proc_stat.push_back(ReadStats());
  }
  ::close(stats);
  std::set<std::string> names;
  for (const Round& round : rounds) {
    for (const auto& entry : round.load.ours) names.insert(entry.first);
  }
  for (const std::string& name : names) {
    Figure figure = ProgramFigure(rounds, name);
    if (name == "tasks_visit") {
      figure.peer = "read of /proc/PID/stat";
      figure.peer_value = Median(proc_stat);
    }
    figures->push_back(std::move(figure));
  }
  figures->push_back(Unreached(rounds, names));
  return absl::OkStatus();
}

}  // namespace faultline
