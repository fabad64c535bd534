// SPDX-License-Identifier: Apache-2.0
//
// Which control groups have block I/O of their own. The kernel charges a request to the nearest
// group, upwards, that has an I/O controller: in cgroup v1 every group of the blkio hierarchy, in
// v2 those with io in their parent's cgroup.subtree_control. Of the others nothing is known, which
// is not 0. Owned by the BPF source; one thread.
#pragma once

#include <cstdint>

#include "absl/container/flat_hash_map.h"
#include "agent/metrics/source.h"
#include "base/cgroup_tree.h"

namespace faultline {

class IoGroups {
 public:
  // `tree` outlives it.
  explicit IoGroups(const CgroupTree& tree);

  // Before the groups of a tick are asked for.
  void BeginTick() { ++tick_; }
  bool Owns(const Entity& group);

 private:
  struct Known {
    bool owns = false;
    std::int64_t tick = 0;
  };

  // Null: every group does.
  const CgroupTree::Hierarchy* v2_ = nullptr;
  std::int64_t tick_ = 0;
  absl::flat_hash_map<std::uint64_t, Known> known_;
};

}  // namespace faultline
