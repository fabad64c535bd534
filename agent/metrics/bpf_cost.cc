// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics/bpf_cost.h"

#include <bpf/bpf.h>

#include <fstream>
#include <utility>

namespace faultline {
namespace {

bool StatsEnabled() {
  std::ifstream in("/proc/sys/kernel/bpf_stats_enabled");
  int value = 0;
  return in >> value && value != 0;
}

}  // namespace

std::vector<std::string> BpfCost::Names() const {
  std::vector<std::string> names;
  for (const auto& entry : programs_) names.push_back(entry.first);
  for (const auto& entry : maps_) names.push_back(entry.first);
  return names;
}

std::optional<std::int64_t> BpfCost::Entries(const Map& map) {
  std::vector<char> key(map.key_size);
  std::vector<char> next(map.key_size);
  std::int64_t entries = 0;
  int result = bpf_map_get_next_key(map.fd, nullptr, next.data());
  // Keys that come and go meanwhile may start the walk anew, so it is bounded.
  while (result == 0 && entries < map.capacity) {
    ++entries;
    std::swap(key, next);
    result = bpf_map_get_next_key(map.fd, key.data(), next.data());
  }
  return entries;
}

std::optional<std::int64_t> BpfCost::Read(const std::string& entity, BpfCostField field) const {
  if (const auto map = maps_.find(entity); map != maps_.end()) {
    if (field == BpfCostField::kMapCapacity) return map->second.capacity;
    if (field == BpfCostField::kMapEntries) return Entries(map->second);
    return std::nullopt;
  }
  const auto program = programs_.find(entity);
  if (program == programs_.end()) return std::nullopt;
  bpf_prog_info info{};
  __u32 size = sizeof(info);
  if (bpf_obj_get_info_by_fd(program->second, &info, &size) != 0) return std::nullopt;
  switch (field) {
    case BpfCostField::kRunTime:
      if (!StatsEnabled()) return std::nullopt;
      return static_cast<std::int64_t>(info.run_time_ns);
    case BpfCostField::kRunCount:
      if (!StatsEnabled()) return std::nullopt;
      return static_cast<std::int64_t>(info.run_cnt);
    case BpfCostField::kMissed:
      return static_cast<std::int64_t>(info.recursion_misses);
    case BpfCostField::kMapEntries:
    case BpfCostField::kMapCapacity:
      return std::nullopt;
  }
  return std::nullopt;
}

}  // namespace faultline
