// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics/bpf_cost.h"

#include <bpf/bpf.h>

#include <cerrno>
#include <fstream>

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

absl::Status BpfCost::CanRead(BpfCostField field) {
  const bool timed = field == BpfCostField::kRunTime || field == BpfCostField::kRunCount;
  if (!timed || StatsEnabled()) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "the kernel counts no runs while kernel.bpf_stats_enabled is 0; sysctl -w "
      "kernel.bpf_stats_enabled=1 before the agent starts, at some 20 ns more per run");
}

std::optional<std::int64_t> BpfCost::Entries(const Map& map) {
  // Batches of hash maps: 5.6. As large as the map, so that a crowded bucket fits.
  std::vector<char> keys(static_cast<size_t>(map.key_size) * map.capacity);
  std::vector<char> values(static_cast<size_t>(map.value_size) * map.capacity);
  std::uint32_t position = 0;
  std::uint32_t count = map.capacity;
  const int result =
      bpf_map_lookup_batch(map.fd, nullptr, &position, keys.data(), values.data(), &count, nullptr);
  // ENOENT: that was all of it.
  if (result != 0 && result != -ENOENT) return std::nullopt;
  return count;
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
