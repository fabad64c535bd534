// SPDX-License-Identifier: Apache-2.0
//
// What an export knows of one node before it reads the samples. Plain values, made by
// LoadNodes, then read only.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "collector/dataset/intervals.h"
#include "collector/store/catalogue.h"

namespace faultline {

struct NodeData {
  std::string name;
  v1::NodeStatus status;
  // Its batches that touch the run, as of the moment when the export began.
  BatchRange range;
  std::int64_t batches = 0;
  // By row of the epoch.
  std::map<std::int64_t, std::string> boot_ids;
  // Oldest first; verdicts are added by Judge.
  std::vector<FaultInterval> faults;
  // When it did not see its injector.
  std::vector<Span> unseen;

  const std::string& BootOf(std::int64_t epoch) const;
};

// The frame's window lies wholly in [begin, end], real time.
bool IsWithin(const v1::Frame& frame, std::int64_t begin_ns, std::int64_t end_ns);

// The nodes that delivered something for the run or had a fault in it, by name.
absl::StatusOr<std::vector<NodeData>> LoadNodes(Catalogue* catalogue, const v1::Run& run);

}  // namespace faultline
