// SPDX-License-Identifier: Apache-2.0
//
// The parts of ./run bench faults, each on a site of its own; a part appends what it measured. What
// this host lacks is a figure that is not measured, and no error.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "tests/bench/figure.h"

namespace faultline {

// Whether faults of `type` are wanted: all, or the one that FAULTLINE_FAULT names.
bool IsWanted(absl::string_view type);

// Start to acked and deadline to undone of each kind, and what of the former is the journal's
// commit.
absl::Status BenchStarts(const BenchPlace& place, Figures* figures);
// Label minus witness of each family, and what a kill of the injector leaves of a loss.
absl::Status BenchEdges(const BenchPlace& place, Figures* figures);
// Asked and given of each amount.
absl::Status BenchDoses(const BenchPlace& place, Figures* figures);
// Packets that nobody targets, beside our faults.
absl::Status BenchOthers(const BenchPlace& place, Figures* figures);
// The same with the tools that people use for it today.
absl::Status BenchNetworkPeers(const BenchPlace& place, Figures* figures);
absl::Status BenchDelayPeer(const BenchPlace& place, Figures* figures);
absl::Status BenchLimitPeer(const BenchPlace& place, Figures* figures);
absl::Status BenchLoadPeer(const BenchPlace& place, Figures* figures);
absl::Status BenchLeakPeer(const BenchPlace& place, Figures* figures);

// One figure for each of `shares` (1 is the maximum); `note` goes with the first.
struct Quantiles {
  std::vector<double> shares;
  std::optional<double> reach = std::nullopt;
  std::string note = {};
};
void AddQuantiles(const std::string& name, const std::vector<double>& values, const char* unit,
                  const Quantiles& quantiles, Figures* figures);

}  // namespace faultline
