// SPDX-License-Identifier: Apache-2.0
#include "tests/trials/others.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <iterator>

#include "tests/witness/now.h"

namespace faultline {
namespace {

// Before and after what is watched.
constexpr std::int64_t kBeforeMs = 20;
constexpr std::int64_t kAfterMs = 40;
constexpr std::int64_t kNearEdgeNs = 20 * witness::kMs;

v1::FaultSpec OnTheDevice(TrialSite* site, const char* type, double seconds) {
  v1::FaultSpec spec = site->Spec(type, seconds);
  (*spec.mutable_parameters())["device"] = TestNetwork::kHereDevice;
  return spec;
}

// That they share 1 Mbit/s, and that each waits for 50 ms.
v1::FaultSpec NarrowRate(TrialSite* site, double seconds) {
  v1::FaultSpec spec = OnTheDevice(site, "net.rate", seconds);
  (*spec.mutable_parameters())["rate"] = "1mbit";
  return spec;
}
v1::FaultSpec ShortDelay(TrialSite* site, double seconds) {
  v1::FaultSpec spec = OnTheDevice(site, "net.delay", seconds);
  (*spec.mutable_parameters())["delay"] = "50ms";
  return spec;
}

constexpr std::array<OthersRow, 3> kOthersRows{{
    {"net.loss", LossOfAll, witness::kMs / 5},
    {"net.rate", NarrowRate, witness::kMs / 5},
    // For an emulated machine, which has netem, and takes its time for a start.
    {"net.delay", ShortDelay, witness::kMs, 1.5},
}};

}  // namespace

void Others::Add(const witness::Packets& packets, std::size_t path,
                 const std::vector<std::int64_t>& edges_ns) {
  const std::vector<witness::Packet>& all = packets.Of(path);
  sent += static_cast<std::int64_t>(all.size());
  lost += witness::Lost(all).count + packets.Refused(path);
  std::vector<witness::Packet> near;
  std::copy_if(all.begin(), all.end(), std::back_inserter(near), [&](const auto& packet) {
    return std::any_of(edges_ns.begin(), edges_ns.end(), [&packet](std::int64_t edge_ns) {
      return std::abs(packet.sent_ns - edge_ns) <= kNearEdgeNs;
    });
  });
  const auto append = [](const std::vector<double>& more, std::vector<double>* to) {
    to->insert(to->end(), more.begin(), more.end());
  };
  append(witness::LatenciesUs(all), &latencies_us);
  append(witness::LatenciesUs(near), &at_edges_us);
}

absl::StatusOr<OthersWatch> OthersWatch::Create(TrialSite* site, const UdpEnds& ends,
                                                const witness::Packets::Options& options) {
  struct End {
    TestCgroup* group;
    bool out;
  };
  OthersWatch watch;
  watch.options_ = options;
  for (const End end : {End{&site->group(), true}, End{nullptr, true}, End{nullptr, false}}) {
    const absl::StatusOr<witness::Packets::Path> path = site->MakePath(end.group, end.out, ends);
    if (!path.ok()) return path.status();
    watch.paths_.push_back(*path);
  }
  return watch;
}

absl::Status OthersWatch::Watch(const Work& work, Others* others) const {
  witness::Packets packets(paths_, options_);
  witness::SleepForMs(kBeforeMs);
  std::vector<std::int64_t> edges_ns;
  absl::Status status = work(&edges_ns);
  witness::SleepForMs(kAfterMs);
  packets.Finish();
  others->Add(packets, 1, edges_ns);
  others->Add(packets, 2, edges_ns);
  return status;
}

absl::Span<const OthersRow> OthersRows() { return kOthersRows; }

absl::StatusOr<Disturbance> MeasureDisturbance(TrialSite* site, const OthersRow& row, int rounds) {
  const absl::StatusOr<OthersWatch> watch =
      OthersWatch::Create(site, {}, {.interval_ns = row.interval_ns});
  if (!watch.ok()) return watch.status();
  Disturbance disturbance;
  for (int i = 0; i < rounds; ++i) {
    const v1::FaultSpec spec = row.make(site, row.seconds);
    absl::Status status = watch->Watch(
        [&spec](std::vector<std::int64_t>* edges_ns) {
          edges_ns->push_back(witness::NowNs());
          witness::SleepForMs(spec.duration_ns() / witness::kMs);
          edges_ns->push_back(witness::NowNs());
          return absl::OkStatus();
        },
        &disturbance.quiet);
    if (status.ok()) {
      status = watch->Watch(
          [site, &spec](std::vector<std::int64_t>* edges_ns) {
            const absl::StatusOr<v1::FaultState> ended = site->Run(spec);
            if (!ended.ok()) return ended.status();
            edges_ns->push_back(ended->edges().acked().boottime_ns());
            edges_ns->push_back(ended->edges().undone().boottime_ns());
            return absl::OkStatus();
          },
          &disturbance.during);
    }
    if (!status.ok()) return status;
  }
  return disturbance;
}

v1::FaultSpec LossOfAll(TrialSite* site, double seconds) {
  v1::FaultSpec spec = OnTheDevice(site, "net.loss", seconds);
  (*spec.mutable_parameters())["loss"] = "100%";
  return spec;
}

}  // namespace faultline
