// SPDX-License-Identifier: Apache-2.0
#include "tests/trials/doses.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/kernel/host_digest.h"
#include "tests/kernel/watched_spinner.h"
#include "tests/trials/spinners.h"
#include "tests/trials/spread.h"
#include "tests/witness/memory.h"
#include "tests/witness/now.h"
#include "tests/witness/packets.h"
#include "tests/witness/stalls.h"
#include "tests/witness/wire.h"

namespace faultline {
namespace {

// A fault that is stopped when it has been measured.
constexpr double kLongSeconds = 60;

// Of 15,000 datagrams. The draws are the seed's, so another run differs only by their number.
absl::StatusOr<GivenDose> MeasureLoss(TrialSite* site, double asked, bool out) {
  const absl::StatusOr<witness::Packets::Path> path = site->MakePath(&site->group(), out);
  if (!path.ok()) return path.status();
  v1::FaultSpec spec = site->Spec("net.loss", 1.5);
  spec.set_seed(42);
  (*spec.mutable_parameters())["loss"] = absl::StrCat(asked, "%");
  (*spec.mutable_parameters())["direction"] = out ? "out" : "in";
  if (out) (*spec.mutable_parameters())["device"] = TestNetwork::kHereDevice;
  witness::Packets packets({*path}, {.interval_ns = 100'000});
  const absl::StatusOr<v1::FaultState> ended = site->Run(spec);
  packets.Finish();
  if (!ended.ok()) return ended.status();
  const auto lost = static_cast<std::int64_t>(witness::Lost(packets.Of(0)).count);
  if (const std::int64_t told = DoseOf(*ended, "packets_dropped"); told != lost) {
    return absl::InternalError(
        absl::StrCat("the witness lost ", lost, " packets, the dose is ", told));
  }
  std::vector<witness::Packet> during = packets.Of(0);
  std::erase_if(during, [&ended](const witness::Packet& packet) {
    return packet.sent_ns < ended->edges().acked().boottime_ns() ||
           packet.sent_ns > ended->deadline_boottime_ns();
  });
  if (during.empty()) return absl::InternalError("no datagram was sent while it was active");
  const auto sent = static_cast<double>(during.size());
  const double share = asked / 100;
  const double three_sigma = 3 * std::sqrt((1 - share) / (share * sent));
  const auto dropped = static_cast<double>(DoseOf(*ended, "packets_dropped"));
  const auto passed = static_cast<double>(DoseOf(*ended, "packets_passed"));
  return GivenDose{100 * static_cast<double>(witness::Lost(during).count) / sent,
                   100 * dropped / (dropped + passed), std::max(0.02, three_sigma)};
}

absl::StatusOr<GivenDose> MeasureLossIn(TrialSite* site, double asked) {
  return MeasureLoss(site, asked, false);
}

absl::StatusOr<GivenDose> MeasureLossOut(TrialSite* site, double asked) {
  return MeasureLoss(site, asked, true);
}

// The median of what datagrams take with the fault, less that without it.
absl::StatusOr<GivenDose> MeasureDelay(TrialSite* site, double asked) {
  const absl::StatusOr<witness::Packets::Path> path = site->MakePath(&site->group(), true);
  if (!path.ok()) return path.status();
  const double without = MedianLatencyMs(*path);
  v1::FaultSpec spec = site->Spec("net.delay", kLongSeconds);
  (*spec.mutable_parameters())["delay"] = absl::StrCat(asked, "ms");
  (*spec.mutable_parameters())["device"] = TestNetwork::kHereDevice;
  if (const auto started = site->Inject(spec); !started.ok()) return started.status();
  const double with = MedianLatencyMs(*path);
  const absl::StatusOr<v1::FaultState> stopped = site->injector().Stop(spec.id());
  if (!stopped.ok()) return stopped.status();
  // 1 ms.
  return GivenDose{with - without, -1, 1 / asked};
}

absl::StatusOr<GivenDose> MeasureRate(TrialSite* site, double asked) {
  constexpr std::size_t kPayload = 1000;
  // The burst passes and the queue fills up.
  constexpr std::int64_t kSettleMs = 300;
  const absl::StatusOr<witness::Packets::Path> path = site->MakePath(&site->group(), true);
  if (!path.ok()) return path.status();
  witness::Wire wire(path->sender, path->receiver, kPayload);
  if (const double most = wire.BitsPerSecond(kSettleMs) / 1e6; most < 2 * asked) {
    return absl::FailedPreconditionError(
        absl::StrCat("unshaped, this machine sends ", most, " Mbit/s only"));
  }
  v1::FaultSpec spec = site->Spec("net.rate", kLongSeconds);
  (*spec.mutable_parameters())["rate"] = absl::StrCat(asked, "mbit");
  (*spec.mutable_parameters())["device"] = TestNetwork::kHereDevice;
  if (const auto started = site->Inject(spec); !started.ok()) return started.status();
  wire.Settle(kSettleMs);
  const double given = wire.BitsPerSecond(2000) / 1e6;
  const absl::StatusOr<v1::FaultState> stopped = site->injector().Stop(spec.id());
  if (!stopped.ok()) return stopped.status();
  return GivenDose{given};
}

absl::StatusOr<GivenDose> MeasureLimit(TrialSite* site, double asked) {
  Spinners spinners(&site->group());
  if (absl::Status status = spinners.Start(); !status.ok()) return status;
  if (absl::Status can = spinners.CheckCanGet(asked); !can.ok()) return can;
  v1::FaultSpec spec = site->Spec("cpu.limit", kLongSeconds);
  (*spec.mutable_parameters())["cpus"] = absl::StrCat(asked);
  (*spec.mutable_parameters())["period"] = "20ms";
  if (const auto started = site->Inject(spec); !started.ok()) return started.status();
  witness::SleepForMs(100);
  // 150 periods: where it begins and ends in one of them is less than a percent.
  const double given = spinners.Cpus(3000);
  const absl::StatusOr<v1::FaultState> stopped = site->injector().Stop(spec.id());
  if (!stopped.ok()) return stopped.status();
  return GivenDose{given};
}

absl::StatusOr<GivenDose> MeasureLeak(TrialSite* site, double asked) {
  v1::FaultSpec spec = site->Spec("mem.leak", kLongSeconds);
  (*spec.mutable_parameters())["bytes"] = absl::StrCat(asked, "MiB");
  (*spec.mutable_parameters())["rate"] = "512MiB/s";
  if (const auto started = site->Inject(spec); !started.ok()) return started.status();
  constexpr double kMiB = 1 << 20;
  double told = 0;
  for (int i = 0; i < 500 && told < asked; ++i) {
    witness::SleepForMs(10);
    told = static_cast<double>(DoseOf(site->injector().Find(spec.id()), "held_bytes")) / kMiB;
  }
  const std::vector<pid_t> helpers = Helpers(spec.id());
  const double given =
      helpers.empty() ? 0 : static_cast<double>(witness::HeldBytes(helpers.front())) / kMiB;
  const absl::StatusOr<v1::FaultState> stopped = site->injector().Stop(spec.id());
  if (!stopped.ok()) return stopped.status();
  return GivenDose{given, told};
}

// A duration counts from the command: what the journal takes of it is not given.
absl::StatusOr<GivenDose> MeasurePause(TrialSite* site, double asked) {
  const auto spinner = WatchedSpinner::Start(&site->group(), 2 * witness::kMs);
  if (!spinner.ok()) return spinner.status();
  const std::int64_t begin_ns = witness::NowNs();
  const absl::StatusOr<v1::FaultState> ended = site->Run(site->Spec("process.pause", asked / 1000));
  witness::SleepForMs(20);
  const witness::Stall pause = witness::Longest((*spinner)->Since(begin_ns));
  // Without what was another's at either end.
  const std::int64_t paused_ns = pause.length_ns() - pause.begin_blind_ns - pause.end_blind_ns;
  site->group().Empty();
  if (!ended.ok()) return ended.status();
  return GivenDose{static_cast<double>(paused_ns) / witness::kMs,
                   static_cast<double>(DoseOf(*ended, "paused_ns")) / witness::kMs};
}

constexpr std::array<DoseRow, 26> kDoses{{
    {"net.loss of 1 %", "net.loss", 1, "%", MeasureLossIn},
    {"net.loss of 10 %", "net.loss", 10, "%", MeasureLossIn},
    {"net.loss of 50 %", "net.loss", 50, "%", MeasureLossIn},
    {"net.loss of 100 %", "net.loss", 100, "%", MeasureLossIn},
    {"net.loss of 10 % outbound", "net.loss", 10, "%", MeasureLossOut},
    {"net.rate of 1 Mbit/s", "net.rate", 1, "Mbit/s", MeasureRate},
    {"net.rate of 10 Mbit/s", "net.rate", 10, "Mbit/s", MeasureRate},
    {"net.rate of 100 Mbit/s", "net.rate", 100, "Mbit/s", MeasureRate},
    {"cpu.limit of 0.2 CPU", "cpu.limit", 0.2, "CPU", MeasureLimit},
    {"cpu.limit of 0.5 CPU", "cpu.limit", 0.5, "CPU", MeasureLimit},
    {"cpu.limit of 1.5 CPU", "cpu.limit", 1.5, "CPU", MeasureLimit},
    {"mem.leak of 8 MiB", "mem.leak", 8, "MiB", MeasureLeak},
    {"mem.leak of 256 MiB", "mem.leak", 256, "MiB", MeasureLeak},
    {"process.pause of 1 s", "process.pause", 1000, "ms", MeasurePause},
    {"net.delay of 5 ms", "net.delay", 5, "ms", MeasureDelay},
    {"net.delay of 30 ms", "net.delay", 30, "ms", MeasureDelay},
    {"net.delay of 200 ms", "net.delay", 200, "ms", MeasureDelay},
    {"cpu.load of 0.2 CPU", "cpu.load", 0.2, "CPU", MeasureLoad},
    {"cpu.load of 0.5 CPU", "cpu.load", 0.5, "CPU", MeasureLoad},
    {"cpu.load of 1.5 CPU", "cpu.load", 1.5, "CPU", MeasureLoad},
    {"mem.limit of 8 MiB", "mem.limit", 8, "MiB", MeasureMemoryLimit},
    {"mem.limit of 32 MiB", "mem.limit", 32, "MiB", MeasureMemoryLimit},
    {"io.limit of 4 MiB/s read", "io.limit", 4, "MiB/s", MeasureReadLimit},
    {"io.limit of 4 MiB/s written", "io.limit", 4, "MiB/s", MeasureWriteLimit},
    {"io.limit of 50 reads/s", "io.limit", 50, "reads/s", MeasureOperationsLimit},
    {"process.kill of 20 processes", "process.kill", 20, "processes", MeasureKills},
}};

}  // namespace

double MedianLatencyMs(const witness::Packets::Path& path) {
  witness::Packets packets({path}, {.interval_ns = witness::kMs});
  witness::SleepForMs(300);
  packets.Finish();
  return SpreadOf(witness::LatenciesUs(packets.Of(0))).p50 / 1000;
}

absl::Span<const DoseRow> Doses() { return kDoses; }

double DoseError(const DoseRow& row, const GivenDose& dose) { return dose.given / row.asked - 1; }

}  // namespace faultline
