// SPDX-License-Identifier: Apache-2.0
//
// Whether the exported dataset is true: its labels against its own interval table, and the interval
// table against what the kernel counted. Works from the written files alone, and by other code than
// the collector's: what it shares with the collector is the rule in docs/dataset.md. Stateless.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "cli/demo/witness.h"

namespace faultline::cli {

struct Instants {
  std::int64_t boottime_ns = 0;
  std::int64_t realtime_ns = 0;
  // It happened at most this long before the stamp.
  std::int64_t error_ns = 0;
};

// A row of faults.csv.
struct FaultRow {
  std::string id;
  std::string type;
  std::string node;
  std::string cgroup;
  std::string verdict;
  std::string residue;
  bool sham = false;
  Instants commanded;
  Instants acked;
  Instants first_touch;
  Instants last_touch;
  Instants undone;
  std::map<std::string, std::int64_t> dose;

  // By the rule of the labels.
  bool labels() const { return !sham && (verdict == "effective" || verdict == "collateral"); }
};

struct Finding {
  bool agrees = false;
  // A sentence with the numbers of both sides.
  std::string text;
};

absl::StatusOr<std::vector<FaultRow>> ReadFaults(const std::string& dir);

// Labels of every file under `dir`/data, recomputed from `faults`; and the checksums.
std::vector<Finding> CheckLabels(const std::string& dir, const std::vector<FaultRow>& faults);

// Doses and verdicts against the kernel's own counters. `rate_bits`: what net.rate was asked for,
// bit/s.
std::vector<Finding> CheckKernel(const std::vector<FaultRow>& faults,
                                 const std::vector<WitnessSample>& samples, std::int64_t rate_bits);

}  // namespace faultline::cli
