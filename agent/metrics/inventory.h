// SPDX-License-Identifier: Apache-2.0
//
// What there is to measure at this tick: the entities of every table, with ids that are never used
// again. Disks are whole disks that do I/O (loop and RAM disks only once they have done some), CPUs
// those online, network devices those of the agent's namespace. Owned by the sampler; one thread.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "agent/metrics/cgroups.h"
#include "agent/metrics/source.h"
#include "agent/metrics/text_files.h"

namespace faultline {

class Inventory {
 public:
  // Everything must outlive this. `cgroups` is refreshed by Refresh.
  Inventory(TextFiles* files, CgroupIndex* cgroups, std::uint64_t* next_id);

  // Finds the entities of this tick.
  void Refresh();
  const Entities& entities() const { return entities_; }

  // Entities that a source knows and that never change.
  void Add(Table table, const std::vector<std::string>& names);

 private:
  // A freed slot of a disk, and the refresh that freed it.
  struct FreedSlot {
    int slot;
    std::int64_t refresh;
  };

  std::vector<Entity>& At(Table table) { return entities_[static_cast<size_t>(table)]; }
  // Makes the table hold exactly `found`, in this order; what is there already keeps its id.
  // Returns what went.
  std::vector<Entity> Update(Table table, std::vector<Entity> found);
  void RefreshCpus();
  void RefreshDisks();
  void RefreshNetdevs();
  bool IsWholeDisk(absl::string_view name, std::uint32_t device);

  TextFiles* const files_;
  CgroupIndex* const cgroups_;
  std::uint64_t* const next_id_;
  std::int64_t refreshes_ = 0;
  Entities entities_;
  std::string cpus_text_;
  // What /sys/block said of a device number and name.
  absl::flat_hash_map<std::string, bool> whole_disks_;
  std::deque<int> free_disk_slots_;
  std::deque<FreedSlot> freed_disk_slots_;
};

// The numbers of a list as /sys/devices/system/cpu/online writes it: "0-3,8"; empty if it is not
// one.
std::vector<int> ParseCpuList(absl::string_view text);

}  // namespace faultline
