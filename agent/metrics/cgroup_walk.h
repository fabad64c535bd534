// SPDX-License-Identifier: Apache-2.0
//
// Every control group directory of the hierarchies that metrics come from, found again at each tick
// at the price of one stat(2) per group: a directory is listed only when its link count says that
// subdirectories came or went, or when a known one is gone. A group without children is looked at
// in the first hierarchy that has it and in one other hierarchy per tick, in turn; as soon as
// anything changed, all of them are. So what changes in a later hierarchy only, below a group that
// had no children there, is found up to as many ticks late as there are hierarchies (5 at most).
// Owned by CgroupIndex; one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/inlined_vector.h"
#include "base/cgroup_tree.h"

namespace faultline {

struct CgroupPlace {
  std::uint32_t hierarchy = 0;
  std::uint64_t id = 0;

  friend bool operator==(const CgroupPlace&, const CgroupPlace&) = default;
};

// Where one group is: at most one place per hierarchy, by hierarchy id.
using CgroupPlaces = absl::InlinedVector<CgroupPlace, 6>;

// Every path ("/" included) in sorted order, so parents come before their children.
using CgroupPaths = absl::btree_map<std::string, CgroupPlaces>;

class CgroupWalk {
 public:
  // `tree` must outlive this. On v1 the hierarchies of cpu, cpuacct, memory and blkio are walked
  // (the others hold nothing that is measured), and v2 always.
  explicit CgroupWalk(const CgroupTree& tree);
  ~CgroupWalk();
  CgroupWalk(const CgroupWalk&) = delete;
  CgroupWalk& operator=(const CgroupWalk&) = delete;

  // True if anything changed since the call before (true at the first one).
  bool Refresh();
  const CgroupPaths& paths() const { return paths_; }

 private:
  struct Node;
  struct Root;

  static bool RefreshRoot(Root* root, bool all);
  static bool RefreshChildren(Node* node, bool all);
  static bool DropGone(Node* node, bool all);
  static bool List(Node* node);
  void Collect(Node* node, std::uint32_t hierarchy, const std::string& path);

  size_t refreshes_ = 0;
  std::vector<std::unique_ptr<Root>> roots_;
  CgroupPaths paths_;
};

}  // namespace faultline
