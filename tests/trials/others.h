// SPDX-License-Identifier: Apache-2.0
//
// What the packets feel that nobody targets, while a fault, or a peer of ours, starts, runs and
// ends on the devices that they use. Owned by one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "tests/trials/site.h"

namespace faultline {

struct Others {
  std::int64_t sent = 0;
  // On the way, or refused by the kernel when they were to be sent.
  std::int64_t lost = 0;
  std::vector<double> latencies_us;
  // Of those that were sent within 20 ms of a start or an end.
  std::vector<double> at_edges_us;

  void Add(const witness::Packets& packets, std::size_t path,
           const std::vector<std::int64_t>& edges_ns);
};

class OthersWatch {
 public:
  // Between two ends: a path of the target's out, and two of others, one each way.
  static absl::StatusOr<OthersWatch> Create(TrialSite* site, const UdpEnds& ends = {},
                                            const witness::Packets::Options& options = {});

  // Sends on all of them while `work` is done, which notes the edges of what it did,
  // CLOCK_BOOTTIME ns; adds what became of the others'.
  using Work = std::function<absl::Status(std::vector<std::int64_t>* edges_ns)>;
  absl::Status Watch(const Work& work, Others* others) const;

 private:
  std::vector<witness::Packets::Path> paths_;
  witness::Packets::Options options_;
};

// A fault on the target beside which others are watched.
struct OthersRow {
  // Of the fault table.
  const char* type;
  v1::FaultSpec (*make)(TrialSite*, double seconds);
  // Between two packets of a path.
  std::int64_t interval_ns;
  // That a fault lasts.
  double seconds = 0.3;
};

absl::Span<const OthersRow> OthersRows();

// That every packet of the target is lost.
v1::FaultSpec LossOfAll(TrialSite* site, double seconds);

// Faults of a row one after the other, each beside as long a time without one.
struct Disturbance {
  Others quiet;
  Others during;
};
absl::StatusOr<Disturbance> MeasureDisturbance(TrialSite* site, const OthersRow& row, int rounds);

}  // namespace faultline
