// SPDX-License-Identifier: Apache-2.0
#include "tests/trials/families.h"

#include <array>
#include <cstdlib>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/status.h"
#include "tests/trials/spread.h"

namespace faultline {
namespace {

// A touch on a packet or by the freezer has no reason to be further away than this.
constexpr std::int64_t kNetworkTouchNs = 5 * kNsPerMs;
constexpr std::int64_t kPauseTouchNs = 5 * kNsPerMs;
// Programs in the scheduler see a run queue throttled as the witness stops, and let go as it runs
// on.
constexpr std::int64_t kLimitTouchNs = 5 * kNsPerMs;
// The helper stamps the end of a step, which takes as long as the kernel needs for 1.3 MiB.
constexpr std::int64_t kLeakFirstNs = 20 * kNsPerMs;
// The last step may be of pages that the kernel charged with those before, 64 for each CPU: then
// the witness saw the end one step, 20 ms, earlier.
constexpr std::int64_t kLeakLastNs = kLeakFirstNs + 25 * kNsPerMs;

// The helper stamps each 20 us of what it burns.
constexpr std::int64_t kLoadTouchNs = 5 * kNsPerMs;
// A process ends as soon as the kernel has freed what it held.
constexpr std::int64_t kKillTouchNs = 5 * kNsPerMs;
// The kernel drops what is too much while the limit is written, which the witness sees at once;
// then the acknowledgement is written to the disk, and the count of hits read each 10 ms.
constexpr std::int64_t kMemoryLimitFirstNs = 30 * kNsPerMs;
// The last read comes with the end; then the witness has to get more than the limit into memory.
constexpr std::int64_t kMemoryLimitLastNs = 20 * kNsPerMs;
// Whether a rate is met is only known over half a second, of which the end is told.
constexpr std::int64_t kIoLimitFirstNs = 520 * kNsPerMs;
// Another half second may not be over at the end, and begins up to 100 ms late.
constexpr std::int64_t kIoLimitLastNs = 620 * kNsPerMs;

constexpr std::array<FamilyRow, 11> kFamilies{{
    {"net.loss inbound",
     "net.loss",
     {kNetworkTouchNs, kNetworkTouchNs},
     "The witness sends a datagram each 0.2 ms, and reads the clock before it does.",
     MakeLossIn},
    {"net.loss outbound",
     "net.loss",
     {kNetworkTouchNs, kNetworkTouchNs},
     "The witness sends a datagram each 0.2 ms, and reads the clock before it does.",
     MakeLossOut},
    {"net.rate",
     "net.rate",
     {kNetworkTouchNs, kNetworkTouchNs},
     "The witness sees the first datagram that waits, three after the first that is shaped: those "
     "pass as the burst.",
     MakeRate},
    {"cpu.limit",
     "cpu.limit",
     {kLimitTouchNs, kLimitTouchNs},
     "Of 0.05 CPU in periods of 50 ms; the witness's first stall comes when the first quota is "
     "used "
     "up. It sees stalls from 0.5 ms on: of a shorter one at either end it sees the next.",
     MakeLimit},
    {"process.pause",
     "process.pause",
     {kPauseTouchNs, kPauseTouchNs},
     "The witness reads the clock all the time.",
     MakePause},
    {"mem.leak",
     "mem.leak",
     {kLeakFirstNs, kLeakLastNs},
     "Steps of 20 ms; the last touch beside the last growth, undone beside the end of the memory.",
     MakeLeak},
    {"net.delay",
     "net.delay",
     {kNetworkTouchNs, kNetworkTouchNs},
     "The witness sends a datagram each ms, and reads the clock before it does. Last is the last "
     "that waited behind one that was late: sent before that had arrived, and not there earlier.",
     MakeDelay},
    {"cpu.load",
     "cpu.load",
     {kLoadTouchNs, kLoadTouchNs},
     "The witness reads the kernel's count of the group's CPU time each 20 us.",
     MakeLoad},
    {"process.kill",
     "process.kill",
     {kKillTouchNs, kKillTouchNs},
     "Two kills, 200 ms apart; undone follows when the time of the fault is over, 100 ms after the "
     "second.",
     MakeKill},
    {"mem.limit",
     "mem.limit",
     {kMemoryLimitFirstNs, kMemoryLimitLastNs},
     "The witness wants twice as much of a file in memory, and looks each 0.2 ms how much is.",
     MakeMemoryLimit},
    {"io.limit",
     "io.limit",
     {kIoLimitFirstNs, kIoLimitLastNs},
     "The witness reads blocks from the disk, and waits for milliseconds between them.",
     MakeIoLimit},
}};

// Of which a witness may be blind, a fifth of the nearest bound; and how many such trials there may
// be for one that counts.
constexpr std::int64_t kBlindNs = kNsPerMs;
constexpr int kBlindMost = 9;

// 0: one of the two did not happen, which the caller sees in the trial.
double DifferenceMs(const v1::Edge& edge, std::int64_t seen_ns) {
  return static_cast<double>(edge.boottime_ns() - seen_ns) / static_cast<double>(kNsPerMs);
}

absl::Status CheckComplete(const Trial& trial) {
  const v1::Edges& edges = trial.state.edges();
  const bool told = edges.acked().boottime_ns() != 0 && edges.first_touch().boottime_ns() != 0 &&
                    edges.last_touch().boottime_ns() != 0 && edges.undone().boottime_ns() != 0;
  const Witnessed& seen = trial.seen;
  if (told && seen.begin_ns != 0 && seen.last_ns != 0 && seen.end_ns != 0) {
    return absl::OkStatus();
  }
  return absl::InternalError(
      absl::StrCat(told ? "the witness saw no effect" : "an edge was not told", ": witness ",
                   seen.begin_ns, " to ", seen.end_ns, "; ", trial.state.ShortDebugString()));
}

}  // namespace

absl::Span<const FamilyRow> Families() { return kFamilies; }

void EdgeErrors::Add(const Trial& trial) {
  const v1::Edges& edges = trial.state.edges();
  acked.push_back(DifferenceMs(edges.acked(), trial.seen.begin_ns));
  first_touch.push_back(DifferenceMs(edges.first_touch(), trial.seen.begin_ns));
  last_touch.push_back(DifferenceMs(edges.last_touch(), trial.seen.last_ns));
  undone.push_back(DifferenceMs(edges.undone(), trial.seen.end_ns));
  if (trial.counted >= 0) dose.push_back(static_cast<double>(trial.told - trial.counted));
  others_lost += trial.others_lost;
}

std::string EdgeErrors::ToString() const {
  return absl::StrCat("  acked - begin:       ", faultline::ToString(SpreadOf(acked), "ms"),
                      "\n  first_touch - begin: ", faultline::ToString(SpreadOf(first_touch), "ms"),
                      "\n  last_touch - last:   ", faultline::ToString(SpreadOf(last_touch), "ms"),
                      "\n  undone - end:        ", faultline::ToString(SpreadOf(undone), "ms"),
                      "\n",
                      blind == 0 ? ""
                                 : absl::StrCat("  made again, as the witness's CPU was "
                                                "another's: ",
                                                blind, "\n"));
}

int TrialCount(int usual) {
  const char* const asked = std::getenv("FAULTLINE_TRIALS");
  int count = 0;
  return asked != nullptr && absl::SimpleAtoi(asked, &count) && count > 0 ? count : usual;
}

absl::StatusOr<EdgeErrors> RunTrials(TrialSite* site, const FamilyRow& row, int count) {
  if (absl::Status status = site->Check(row.type); !status.ok()) return status;
  const FamilyOr family = row.make(site);
  if (!family.ok()) return family.status();
  EdgeErrors errors;
  for (int i = 0; i < count; ++i) {
    if (errors.blind > kBlindMost * count) {
      return absl::FailedPreconditionError(
          absl::StrCat(row.name, ": the witness's CPU was another's at an edge of ", errors.blind,
                       " trials, and its own in ", i, " only: try on a machine with less to do"));
    }
    const absl::StatusOr<Trial> trial = (*family)->Run();
    if (trial.ok() && trial->seen.blind_ns > kBlindNs) {
      ++errors.blind;
      --i;
      continue;
    }
    absl::Status status = trial.ok() ? CheckComplete(*trial) : trial.status();
    if (!status.ok()) return WithContext(status, absl::StrCat(row.name, ", trial ", i + 1));
    errors.Add(*trial);
  }
  return errors;
}

}  // namespace faultline
