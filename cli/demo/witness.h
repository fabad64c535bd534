// SPDX-License-Identifier: Apache-2.0
//
// What the kernel itself counted while the demo ran, read by nothing of Faultline's agent or
// injector: the evidence that the dataset is checked against. Samples pile up in memory, ten a
// second for two minutes. Main thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/cgroup_tree.h"

namespace faultline::cli {

struct WitnessSample {
  // CLOCK_BOOTTIME.
  std::int64_t boottime_ns = 0;
  // Of the server's group: cpu.stat, memory.
  std::int64_t throttled_ns = 0;
  std::int64_t memory_bytes = 0;
  // Of the server's end of the veth pair, whole packets with their headers.
  std::int64_t sent_bytes = 0;
  std::int64_t sent_packets = 0;
  // Of the server's TCP connections: TCP_INFO's total_retrans, segments.
  std::int64_t retransmits = 0;
};

class Witness {
 public:
  // Control group and device of the server, and where it listens.
  static absl::StatusOr<Witness> Create(const CgroupTree& tree, const std::string& cgroup,
                                        const std::string& device, std::uint16_t port);

  absl::Status Look();
  const std::vector<WitnessSample>& samples() const { return samples_; }

 private:
  absl::Status CountRetransmits();

  std::string cpu_stat_;
  std::string throttled_key_;
  std::int64_t throttled_scale_ = 1;
  std::string memory_;
  std::string device_;
  std::uint16_t port_ = 0;
  // By socket cookie: a connection that has gone keeps its last count.
  std::map<std::uint64_t, std::int64_t> connections_;
  std::vector<WitnessSample> samples_;
};

// The samples around a span of time.
class WitnessSpan {
 public:
  // `samples` in the order of time; the span begins at the last sample before `begin_ns` and ends
  // with the first one after `end_ns`.
  WitnessSpan(const std::vector<WitnessSample>& samples, std::int64_t begin_ns,
              std::int64_t end_ns);

  // There are samples on both sides.
  bool covered() const { return covered_; }
  // Last minus first.
  std::int64_t Growth(std::int64_t WitnessSample::*field) const;
  // Highest within, minus first.
  std::int64_t Rise(std::int64_t WitnessSample::*field) const;
  double seconds() const;

 private:
  std::vector<WitnessSample> inside_;
  bool covered_ = false;
};

}  // namespace faultline::cli
