// SPDX-License-Identifier: Apache-2.0
//
// What the agent's BPF programs cost and how full its maps are, as the kernel counts it: the rows
// of table `bpf`. Owned by the BPF source; one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "agent/metrics/metric.h"

namespace faultline {

class BpfCost {
 public:
  // Descriptors stay the caller's and open as long as this lives.
  void AddProgram(const std::string& name, int fd) { programs_["prog:" + name] = fd; }
  // A map that can get full; arrays cannot.
  struct Map {
    int fd = -1;
    std::uint32_t key_size = 0;
    std::uint32_t value_size = 0;
    std::uint32_t capacity = 0;
  };
  void AddMap(const std::string& name, const Map& map) { maps_["map:" + name] = map; }

  // "prog:NAME", "map:NAME".
  std::vector<std::string> Names() const;

  // FailedPrecondition: the administrator has not switched that count on.
  static absl::Status CanRead(BpfCostField field);

  // Null where `entity` has no such number, or where the kernel does not keep it: run time and
  // count need the sysctl kernel.bpf_stats_enabled.
  std::optional<std::int64_t> Read(const std::string& entity, BpfCostField field) const;

 private:
  static std::optional<std::int64_t> Entries(const Map& map);

  absl::btree_map<std::string, int> programs_;
  absl::btree_map<std::string, Map> maps_;
};

}  // namespace faultline
