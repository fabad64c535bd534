// SPDX-License-Identifier: Apache-2.0
#include "tests/trials/deaths.h"

#include <signal.h>

#include <algorithm>

#include "tests/trials/others.h"
#include "tests/witness/now.h"

namespace faultline {
namespace {

constexpr std::int64_t kBeforeKillMs = 30;
// What comes in the last third of it must arrive.
constexpr std::int64_t kAfterKillMs = 300;

double MsFrom(std::int64_t kill_ns, const std::vector<witness::Packet>& packets) {
  return static_cast<double>(witness::Lost(packets).last_ns - kill_ns) / witness::kMs;
}

absl::Status MeasureDeath(TrialSite* site, const std::vector<witness::Packets::Path>& paths,
                          Deaths* deaths) {
  const v1::FaultSpec spec = LossOfAll(site, 30);
  witness::Packets packets(paths, {});
  if (const auto started = site->Inject(spec); !started.ok()) return started.status();
  witness::SleepForMs(kBeforeKillMs);
  const std::int64_t kill_ns = witness::NowNs();
  site->injector().End(SIGKILL);
  const std::int64_t gone_ns = witness::NowNs();
  witness::SleepForMs(kAfterKillMs);
  packets.Finish();
  // It undoes what is left of the fault.
  if (absl::Status status = site->injector().Start(); !status.ok()) return status;
  for (const std::size_t path : {0U, 1U}) {
    const std::vector<witness::Packet>& sent = packets.Of(path);
    if (witness::Lost(sent).count == 0) {
      return absl::InternalError("the witness lost no packet");
    }
    const std::int64_t late_ns = gone_ns + kAfterKillMs * witness::kMs * 2 / 3;
    if (sent.back().sent_ns < late_ns || witness::Lost(sent).last_ns > late_ns) {
      return absl::InternalError("packets were lost until the witness sent no more");
    }
    deaths->lost_after += std::count_if(sent.begin(), sent.end(), [gone_ns](const auto& packet) {
      return packet.arrived_ns == 0 && packet.sent_ns > gone_ns;
    });
  }
  deaths->gone.push_back(static_cast<double>(gone_ns - kill_ns) / witness::kMs);
  deaths->inbound.push_back(MsFrom(kill_ns, packets.Of(0)));
  deaths->outbound.push_back(MsFrom(kill_ns, packets.Of(1)));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Deaths> MeasureDeaths(TrialSite* site, int count) {
  std::vector<witness::Packets::Path> paths;
  for (const bool out : {false, true}) {
    const absl::StatusOr<witness::Packets::Path> path = site->MakePath(&site->group(), out);
    if (!path.ok()) return path.status();
    paths.push_back(*path);
  }
  Deaths deaths;
  for (int i = 0; i < count; ++i) {
    if (absl::Status status = MeasureDeath(site, paths, &deaths); !status.ok()) return status;
  }
  return deaths;
}

}  // namespace faultline
