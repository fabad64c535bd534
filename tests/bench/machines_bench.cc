// SPDX-License-Identifier: Apache-2.0
//
// The packages on whole machines that QEMU emulates: how soon they measure, how large they are, and
// whether a fault outlives what happens to the injector or to the power. ./run bench makes the
// packages and the image first.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <functional>
#include <map>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/status.h"
#include "tests/bench/figure.h"
#include "tests/bench/report.h"
#include "tests/child.h"
#include "tests/trials/families.h"
#include "tests/vm/guest.h"
#include "tests/vm/installed.h"

namespace faultline {
namespace {

constexpr std::int64_t kCommandNs = 1200 * kNsPerSecond;
constexpr int kKills = 1000;
constexpr int kPowerCuts = 200;
// More, and there is nothing to count.
constexpr int kMostFailures = 10;
constexpr int kTrials = 20;
constexpr int kBoots = 3;
// Where it was measured, as the end of a sentence.
std::string There() {
  const char* const accelerator = std::getenv("FAULTLINE_VM_ACCELERATOR");
  const bool kvm = accelerator != nullptr && std::string(accelerator) == "kvm";
  return absl::StrCat("in a Debian 12 guest with one processor, ",
                      kvm ? "on KVM."
                          : "emulated in software, some ten times slower than this machine's, and "
                            "therefore without "
                            "the CPU quota of the services.");
}

using Lines = std::vector<std::vector<std::string>>;
using GuestOr = absl::StatusOr<std::unique_ptr<Guest>>;

class Machines {
 public:
  explicit Machines(const BenchPlace& place) : place_(place) {}

  GuestOr Boot(const std::string& name, int memory_mib = 1024) const {
    absl::StatusOr<std::string> disk = InstalledDisk("amd64");
    if (!disk.ok()) return disk.status();
    Guest::Options options;
    options.name = name;
    options.memory_mib = memory_mib;
    options.base = *std::move(disk);
    options.files = place_.temp + "/files";
    return Guest::Boot(options, place_.temp);
  }

 private:
  const BenchPlace place_;
};

absl::StatusOr<std::string> Do(Guest& guest, const std::string& command) {
  const absl::StatusOr<Guest::Result> result = guest.Run(command, kCommandNs);
  if (!result.ok()) return result.status();
  if (result->status == 0) return result->output;
  return absl::InternalError(absl::StrCat(command, ": ", result->output));
}

absl::StatusOr<double> DoNumber(Guest& guest, const std::string& command) {
  const absl::StatusOr<std::string> said = Do(guest, command);
  if (!said.ok()) return said.status();
  double value = 0;
  if (absl::SimpleAtod(*said, &value)) return value;
  return absl::InternalError(absl::StrCat(command, " printed ", *said));
}

// What guest_faults prints.
absl::StatusOr<std::string> Faults(Guest& guest, const std::string& arguments) {
  return Do(guest, absl::StrCat(Guest::kFiles, "/guest_faults ", arguments));
}

// Lines of it with `word` in front, in words.
Lines LinesOf(const std::string& said, const std::string& word) {
  Lines lines;
  for (const auto line : absl::StrSplit(said, '\n')) {
    std::vector<std::string> words = absl::StrSplit(line, ' ');
    if (words[0] == word) lines.push_back(std::move(words));
  }
  return lines;
}

double ToDouble(const std::string& text) {
  double value = 0;
  return absl::SimpleAtod(text, &value) ? value : 0;
}

constexpr char kEnableAll[] =
    "systemctl enable faultline-agent faultline-collector faultline-injector nginx";
constexpr char kAwaitBatch[] =
    "until faultline status --json 2> /dev/null | grep -q '\"batches\": *[1-9]'; do :; done; "
    "cut -d ' ' -f 1 /proc/uptime";

absl::Status BenchBoot(const Machines& machines, Figures* figures) {
  GuestOr guest = machines.Boot("boot");
  if (!guest.ok()) return guest.status();
  if (const auto said = Do(**guest, kEnableAll); !said.ok()) return said.status();
  std::vector<double> first;
  std::vector<double> system;
  for (int i = 0; i < kBoots; ++i) {
    if (absl::Status status = (*guest)->PowerOff(); !status.ok()) return status;
    if (absl::Status status = (*guest)->Start(); !status.ok()) return status;
    const absl::StatusOr<double> seconds = DoNumber(**guest, kAwaitBatch);
    if (!seconds.ok()) return seconds.status();
    first.push_back(*seconds);
    const absl::StatusOr<double> up = DoNumber(**guest,
                                               "systemctl show -P ActiveEnterTimestampMonotonic "
                                               "faultline-collector | awk '{ print $1 / 1e6 }'");
    if (!up.ok()) return up.status();
    system.push_back(*up);
  }
  figures->push_back(
      {.name = "boot to the first stored sample, all four packages on one machine",
       .value = Median(first),
       .unit = "s",
       .note = absl::StrCat("median of ", kBoots, " boots, ", There(), " The collector was ready ",
                            absl::StrFormat("%.1f", Median(system)),
                            " s after the kernel began. Seen by asking for the status "
                            "again and again, each of which takes a second there.")});
  return absl::OkStatus();
}

// Installed-Size of a package, and of all that it depends on without what every Debian has, KiB.
constexpr char kSizes[] = R"(
declare -A size priority needs
while IFS=$'\t' read -r name kib rank depends; do
  size[$name]=$kib; priority[$name]=$rank; needs[$name]=$depends
done < <(dpkg-query -W -f '${Package}\t${Installed-Size}\t${Priority}\t${Depends}, ${Pre-Depends}\n')
for root in faultline-agent faultline-injector faultline-collector faultline; do
  declare -A seen=(); todo=($root); total=0
  while [ ${#todo[@]} -gt 0 ]; do
    at=${todo[-1]}; unset "todo[-1]"
    [ -z "${seen[$at]}" ] && [ -n "${size[$at]}" ] || continue
    seen[$at]=1
    [ "${priority[$at]}" != required ] || continue
    [ $at = $root ] || total=$((total + ${size[$at]}))
    IFS=, read -ra list <<< "${needs[$at]}"
    for one in "${list[@]}"; do set -- $one; [ -z "$1" ] || todo+=("${1%%:*}"); done
  done
  echo "size $root ${size[$root]} $total"
done
)";

absl::Status BenchSizes(Guest& guest, Figures* figures) {
  const absl::StatusOr<std::string> said = Do(guest, kSizes);
  if (!said.ok()) return said.status();
  for (const auto line : absl::StrSplit(*said, '\n')) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ');
    if (words[0] != "size" || words.size() != 4) continue;
    figures->push_back({.name = absl::StrCat("installed size of package ", words[1]),
                        .value = ToDouble(words[2]) * 1024,
                        .unit = "By",
                        .note = absl::StrFormat(
                            "the libraries that it depends on, without those that are required on "
                            "every Debian, are another %.1f MiB; the four packages share them.",
                            ToDouble(words[3]) / 1024)});
  }
  return absl::OkStatus();
}

absl::Status BenchMemory(const Machines& machines, Figures* figures) {
  GuestOr guest = machines.Boot("memory", 512);
  if (!guest.ok()) return guest.status();
  if (absl::Status status = BenchSizes(**guest, figures); !status.ok()) return status;
  const auto started = Do(**guest,
                          "systemctl start nginx faultline-collector faultline-injector "
                          "faultline-agent; sleep 600");
  if (!started.ok()) return started.status();
  for (const char* service : {"agent", "injector", "collector"}) {
    const absl::StatusOr<double> pss = DoNumber(
        **guest, absl::StrCat("awk '/^Pss:/ { print $2 }' /proc/$(systemctl show -P MainPID "
                              "faultline-",
                              service, ")/smaps_rollup"));
    if (!pss.ok()) return pss.status();
    const absl::StatusOr<double> charged =
        DoNumber(**guest, absl::StrCat("cat /sys/fs/cgroup/system.slice/faultline-", service,
                                       ".service/memory.current"));
    if (!charged.ok()) return charged.status();
    figures->push_back(
        {.name = absl::StrCat("memory of faultline-", service, " after 10 minutes (PSS)"),
         .value = *pss * 1024,
         .unit = "By",
         .note = absl::StrFormat("all three in a guest of 512 MiB at 1 Hz; its control group is "
                                 "charged %.1f MiB, with page cache and BPF maps.",
                                 *charged / (1 << 20))});
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Guest>> BootForFaults(const Machines& machines,
                                                     const std::string& name) {
  GuestOr guest = machines.Boot(name);
  if (!guest.ok()) return guest;
  if (const auto said = Do(**guest, PrepareFaults()); !said.ok()) return said.status();
  return guest;
}

// Of an injector that was killed shortly before the deadlines: `late`, by kind, beyond them.
void AddKilled(const std::string& said, const std::map<std::string, std::vector<double>>& late,
               Figures* figures) {
  std::map<std::string, std::vector<double>> after;
  for (const auto& words : LinesOf(said, "killed")) {
    after[words.at(1)].push_back(ToDouble(words.at(2)));
  }
  for (const auto& [kind, values] : after) {
    // The kernel ends a link with the process; what else there is, who comes after it undoes.
    const bool link = kind == "link";
    figures->push_back(
        {.name =
             absl::StrCat("SIGKILL of the injector to the end of the effect, ", kind, ", slowest"),
         .value = Quantile(values, 1),
         .unit = "ms",
         .reach_value = link ? std::optional<double>(50) : std::nullopt,
         .note = absl::StrCat(values.size(), " effects, the middle one after ",
                              absl::StrFormat("%.1f", Median(values)), " ms, ", There())});
    if (link) continue;
    figures->push_back({.name = absl::StrCat("deadline to the end of the effect, injector killed, ",
                                             kind, ", slowest"),
                        .value = Quantile(late.at(kind), 1),
                        .unit = "ms",
                        .reach_value = 1'000,
                        .note = absl::StrCat("it was killed in the last half second before the "
                                             "first deadline; 0: all ended before theirs. ",
                                             values.size(), " effects, ", There())});
  }
}

absl::Status BenchDeadlines(const Machines& machines, Figures* figures) {
  const GuestOr guest = BootForFaults(machines, "deadlines");
  if (!guest.ok()) return guest.status();
  for (const char* mode : {"live", "killed", "frozen"}) {
    const absl::StatusOr<std::string> said =
        Faults(**guest, absl::StrCat("deadlines ", mode, " ", kTrials));
    if (!said.ok()) return said.status();
    std::map<std::string, std::vector<double>> late;
    for (const auto& words : LinesOf(*said, "deadline")) {
      // What ended before its deadline, as what a killed injector leaves does, did not outlive it.
      const double ms = std::max(0.0, ToDouble(words.at(2)));
      late["all"].push_back(ms);
      late[words.at(1)].push_back(ms);
    }
    std::string kinds;
    for (const auto& [kind, values] : late) {
      if (kind != "all") {
        absl::StrAppend(&kinds, kinds.empty() ? "" : ", ", kind, " ",
                        absl::StrFormat("%.0f", Quantile(values, 1)));
      }
    }
    if (absl::string_view(mode) == "killed") {
      AddKilled(*said, late, figures);
      continue;
    }
    const bool live = absl::string_view(mode) == "live";
    figures->push_back(
        {.name = absl::StrCat("deadline to the end of the effect, injector ", mode, ", slowest"),
         .value = Quantile(late["all"], 1),
         .unit = "ms",
         .reach_value = live ? 250 : 15'000,
         .note = absl::StrCat(late["all"].size(), " effects, watched by a program of the bench, ",
                              There(), " At most, in ms: ", kinds, ".")});
  }
  return absl::OkStatus();
}

// Faults of one type, which this host's kernel may not have, as ./run bench faults has them.
absl::Status BenchFaultInAGuest(const Machines& machines, const std::string& type,
                                Figures* figures) {
  constexpr std::int64_t kBenchNs = 3600 * kNsPerSecond;
  const GuestOr guest = machines.Boot("faults");
  if (!guest.ok()) return guest.status();
  const char* const trials = std::getenv("FAULTLINE_TRIALS");
  const absl::StatusOr<Guest::Result> result = (*guest)->Run(
      absl::StrCat(trials == nullptr ? "" : absl::StrCat("FAULTLINE_TRIALS=", trials, " "),
                   "FAULTLINE_BIN_DIR=", Guest::kFiles,
                   " FAULTLINE_INJECTOR=/usr/sbin/faultline-injector FAULTLINE_FAULT=", type, " ",
                   Guest::kFiles, "/faultline-bench faults 2> /root/bench.log"),
      kBenchNs);
  if (!result.ok()) return result.status();
  absl::StatusOr<Figures> measured = FiguresOf(result->output);
  const absl::StatusOr<std::string> log = Do(**guest, "cat /root/bench.log");
  if (!measured.ok()) return WithContext(measured.status(), log.ok() ? *log : "no log");
  for (Figure& figure : *measured) {
    absl::StrAppend(&figure.name, ", in a guest");
    absl::StrAppend(&figure.note, figure.note.empty() ? "" : " ", "Measured ", There());
    figures->push_back(std::move(figure));
  }
  // What a part could not measure does not go with what the others did.
  if (result->status != 0) return absl::InternalError(log.ok() ? *log : "no log");
  return absl::OkStatus();
}

// Of both guests.
struct GuestKills {
  std::atomic<int> seed = 0;
  std::atomic<int> all_eight = 0;
  std::atomic<int> failed = 0;
  absl::Mutex mutex;
  std::vector<double> seconds ABSL_GUARDED_BY(mutex);
};

// One guest's share of the kills: kills until there are enough.
absl::Status KillUntil(const Machines& machines, const std::string& name, GuestKills* kills) {
  GuestOr guest = absl::UnavailableError("none yet");
  while (kills->all_eight + kills->failed < TrialCount(kKills)) {
    if (!guest.ok()) guest = BootForFaults(machines, name);
    if (!guest.ok()) return guest.status();
    const absl::StatusOr<std::string> said =
        Faults(**guest, absl::StrCat("kills 20 ", ++kills->seed, " /root/digest"));
    if (!said.ok()) {
      LogError("a kill was not survived: ", said.status().message());
      if (++kills->failed > kMostFailures) return said.status();
      // What it left would count against the next ones.
      guest = said.status();
      continue;
    }
    const absl::MutexLock lock(&kills->mutex);
    for (const auto& words : LinesOf(*said, "kill")) {
      kills->seconds.push_back(ToDouble(words.at(4)));
      if (words.at(1) == "all") ++kills->all_eight;
    }
    LogInfo(kills->all_eight.load(), " of ", TrialCount(kKills), " kills");
  }
  return absl::OkStatus();
}

absl::Status CutOnce(Guest& guest, const std::string& before) {
  const std::string program = absl::StrCat(Guest::kFiles, "/guest_faults ");
  const auto ids = Do(guest, program + "start 300");
  if (!ids.ok()) return ids.status();
  guest.CutPower();
  if (absl::Status status = guest.Start(); !status.ok()) return status;
  const auto closed = Do(
      guest, absl::StrCat("until systemctl -q is-active faultline-injector; do sleep 0.2; done; ",
                          program, "closed reboot ", *ids));
  if (!closed.ok()) return WithContext(closed.status(), "after the boot");
  const auto after = Do(guest, "bash /root/digest");
  if (!after.ok()) return after.status();
  return *after == before ? absl::OkStatus()
                          : absl::InternalError(absl::StrCat("it left ", *after));
}

// Of both guests.
struct Cuts {
  std::atomic<int> left = kPowerCuts;
  std::atomic<int> survived = 0;
  std::atomic<int> failed = 0;
};

// One guest's share of the power cuts: cuts until none is left.
absl::Status CutUntil(const Machines& machines, const std::string& name, Cuts* cuts) {
  GuestOr guest = absl::UnavailableError("none yet");
  std::string before;
  for (int number; (number = cuts->left--) > 0;) {
    if (!guest.ok()) {
      guest = BootForFaults(machines, name);
      if (!guest.ok()) return guest.status();
      const auto digest = Do(**guest, "bash /root/digest");
      if (!digest.ok()) return digest.status();
      before = *digest;
    }
    const absl::Status status = CutOnce(**guest, before);
    if (status.ok()) {
      ++cuts->survived;
    } else {
      LogError("power cut ", number, " was not survived: ", status.message());
      if (++cuts->failed > kMostFailures) return status;
      guest = status;
    }
    if (number % 20 == 1) LogInfo(number - 1, " of ", kPowerCuts, " power cuts are left");
  }
  return absl::OkStatus();
}

using Part = std::function<absl::Status(const Machines&, Figures*)>;

absl::Status Both(const absl::Status& one, const absl::Status& other) {
  if (one.ok() || other.ok()) return one.ok() ? other : one;
  return absl::InternalError(absl::StrCat(one.message(), "; ", other.message()));
}

// Both at a time; the figures in their order.
absl::Status Beside(const Machines& machines, const Part& one, const Part& other,
                    Figures* figures) {
  Figures second;
  absl::Status other_status;
  std::jthread thread([&] { other_status = other(machines, &second); });
  const absl::Status status = one(machines, figures);
  thread.join();
  figures->insert(figures->end(), second.begin(), second.end());
  return Both(status, other_status);
}

// Machines that find `programs` of the build in their files.
absl::StatusOr<Machines> WithPrograms(const BenchPlace& place,
                                      const std::vector<std::string>& programs) {
  if (Guest::ImageDir("amd64").empty() || PackageDir("amd64").empty()) {
    return absl::FailedPreconditionError(
        "there is no image and there are no packages: ./run bench with machines or delay makes "
        "them");
  }
  const std::string files = place.temp + "/files";
  std::string said;
  if (RunToEnd({"/bin/mkdir", "-p", files}, &said) != 0) return absl::InternalError(said);
  for (const std::string& program : programs) {
    if (RunToEnd({"/bin/cp", absl::StrCat(place.bin, "/", program), files}, &said) != 0) {
      return absl::InternalError(said);
    }
  }
  return Machines(place);
}

}  // namespace

absl::Status BenchDelay(const BenchPlace& place, Figures* figures) {
  const absl::StatusOr<Machines> machines = WithPrograms(place, {"faultline-bench"});
  if (!machines.ok()) return machines.status();
  return BenchFaultInAGuest(*machines, "net.delay", figures);
}

absl::Status BenchGuestKills(const BenchPlace& place, Figures* figures) {
  const absl::StatusOr<Machines> machines = WithPrograms(place, {"guest_faults"});
  if (!machines.ok()) return machines.status();
  GuestKills kills;
  const auto kill = [&kills](const std::string& name) {
    return [&kills, name](const Machines& on, Figures*) { return KillUntil(on, name, &kills); };
  };
  const absl::Status status = Beside(*machines, kill("kills-1"), kill("kills-2"), figures);
  const absl::MutexLock lock(&kills.mutex);
  const int all_eight = kills.all_eight;
  figures->push_back(
      {.name = "kills of the injector at random moments, in guests, not survived",
       .value = static_cast<double>(kills.failed),
       .unit = "kills",
       .reach_value = 0,
       .note = absl::StrCat(all_eight, " were with eight faults acked, and ",
                            static_cast<int>(kills.seconds.size()) - all_eight,
                            " more while these were started: qdiscs, filters, links, control "
                            "groups, drop-ins and helpers were those of before.")});
  figures->push_back({.name = "kill to the state of before, in guests, p99",
                      .value = Quantile(kills.seconds, 0.99),
                      .unit = "s",
                      .reach_value = 5,
                      .note = absl::StrCat("of those that were survived, ", There())});
  return status;
}

absl::Status BenchMachines(const BenchPlace& place, Figures* figures) {
  const absl::StatusOr<Machines> made = WithPrograms(place, {"guest_faults"});
  if (!made.ok()) return made.status();
  const Machines& machines = *made;
  // What one part has measured does not go with the failure of another.
  std::vector<std::string> failures;
  const auto note = [&failures](const absl::Status& status) {
    if (status.ok()) return;
    LogError(status.message());
    failures.emplace_back(status.message());
  };
  LogInfo("boots");
  note(BenchBoot(machines, figures));
  LogInfo("deadlines, and ten minutes of memory");
  note(Beside(machines, BenchMemory, BenchDeadlines, figures));
  LogInfo(kPowerCuts, " power cuts");
  Cuts cuts;
  const auto cut = [&cuts](const std::string& name) {
    return [&cuts, name](const Machines& on, Figures*) { return CutUntil(on, name, &cuts); };
  };
  note(Beside(machines, cut("power-1"), cut("power-2"), figures));
  figures->push_back({.name = "power cuts with eight faults active, not survived",
                      // What was not tried was not survived.
                      .value = static_cast<double>(kPowerCuts - cuts.survived),
                      .unit = "cuts",
                      .reach_value = 0,
                      .note = absl::StrCat(
                          cuts.survived.load(), " of ", kPowerCuts,
                          " were: each of the eight closed in the journal with reason \"reboot\", "
                          "none active, all else as before.")});
  if (failures.empty()) return absl::OkStatus();
  return absl::InternalError(absl::StrJoin(failures, "; "));
}

}  // namespace faultline
