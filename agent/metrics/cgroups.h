// SPDX-License-Identifier: Apache-2.0
//
// Which control groups have a row of their own, and the slot of each in the BPF maps. A control
// group is one path over all hierarchies (v1, hybrid, v2). Owned and refreshed by the sampler, once
// per tick before any source reads; read by the BPF source and the control group files' source. One
// thread.
//
// Rows are bounded. Who gets one, in this order:
//  1. "/" and, when the agent starts, groups with processes of their own before empty ones;
//  2. a new group as long as there is a free row, else the row of the group that has been tracked
//     longest without having processes now; if every tracked group has some, the new one is folded;
//  3. a folded group in which processes turn up, by the same rule (a few are looked at per tick).
// What is folded is counted in "~other" (slot CGROUP_SLOT_OTHER), as is the time between a group's
// creation and the tick that finds it.
//
// Life of a row: the tick that finds the directories gone (or the group evicted) still lists the
// entity, so that what it did until its end is read once more; the tick after retires its slot, and
// the slot may be given away from then on. A directory that was removed and made again is another
// entity of the same name.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "agent/metrics/cgroup_walk.h"
#include "agent/metrics/source.h"
#include "base/cgroup_tree.h"
#include "bpf/metric.h"

namespace faultline {

// An entry of the BPF map cgroup_slots.
struct SlotKey {
  cgroup_key key;
  int slot;
};

class CgroupIndex {
 public:
  // Finds the groups that exist. `max_groups` rows, "~other" not counted, at most CGROUP_SLOTS - 1;
  // `next_id` is the agent's one source of entity ids.
  static absl::StatusOr<std::unique_ptr<CgroupIndex>> Create(CgroupTree tree, int max_groups,
                                                             std::uint64_t* next_id);

  // Looks for groups that came or went. Every Refresh is followed by one Read of each source.
  void Refresh();

  // "~other" first, then the groups with a row in the order in which they got it.
  const std::vector<Entity>& entities() const { return entities_; }

  // For the BPF source. Start() writes keys(); each Read() applies the last Refresh in this order:
  // delete keys_removed(), zero the row of each of slots_retired() in every map, write
  // keys_added(). Keys of keys() that are already there are simply written again.
  std::vector<SlotKey> keys() const;
  const std::vector<SlotKey>& keys_added() const { return keys_added_; }
  const std::vector<SlotKey>& keys_removed() const { return keys_removed_; }
  const std::vector<int>& slots_retired() const { return slots_retired_; }

  // Kernfs ids of the entity by hierarchy id; null: it has no row, or its directories are gone.
  const CgroupPlaces* PlacesOf(std::uint64_t entity) const;

  // Paths that were folded into "~other" since the call before, and how many are in there now.
  std::vector<std::string> TakeNewlyFolded() { return std::exchange(newly_folded_, {}); }
  size_t folded() const { return folded_.size(); }

  const CgroupTree& tree() const { return tree_; }

  // Slots are below this: every row may be leaving while its successor is there already. BPF maps
  // are made this large; the lowest free slot is given away first, so that little of them is read.
  int slots() const;

 private:
  struct Row {
    Entity entity;
    CgroupPlaces places;
    // Its directories are gone or it was evicted: retired by the next Refresh.
    bool leaving = false;
    // Refresh that gave it its row.
    std::int64_t since = 0;
  };

  CgroupIndex(CgroupTree tree, int max_groups, std::uint64_t* next_id);
  void TrackExisting();
  void RetireLeavers();
  void UpdateRows();
  void DropFoldedThatWent();
  void FindNewGroups();
  void PromoteBusyFolded();
  bool HasRoom() const;
  bool MakeRoom();
  bool HasProcesses(const std::string& path, const CgroupPlaces& places) const;
  void Track(const std::string& path, const CgroupPlaces& places);
  void Fold(const std::string& path);
  void Leave(Row* row);
  void ListEntities();

  const CgroupTree tree_;
  const size_t max_groups_;
  std::uint64_t* const next_id_;
  CgroupWalk walk_;
  const std::uint64_t other_id_;
  std::int64_t refreshes_ = 0;
  // Refresh before which looking for a row to free is pointless.
  std::int64_t no_room_before_ = 0;
  // By entity id, hence by age.
  absl::btree_map<std::uint64_t, Row> rows_;
  // Paths of all rows; no two rows of one tick share a path.
  absl::flat_hash_set<std::string> taken_;
  // Rows that are not leaving.
  size_t live_ = 0;
  absl::btree_set<int> free_slots_;
  // Folded paths; the queue says which is looked at next.
  absl::flat_hash_set<std::string> folded_;
  std::deque<std::string> folded_queue_;
  std::vector<Entity> entities_;
  std::vector<SlotKey> keys_added_;
  std::vector<SlotKey> keys_removed_;
  std::vector<int> slots_retired_;
  std::vector<std::string> newly_folded_;
};

// What a path says about who made it: the systemd unit (its last part that ends in a unit suffix of
// those with processes: .service, .scope, .slice, .socket, .mount, .swap) and the container id (64
// hex digits, bare or as docker, containerd, cri-o, podman and libpod write them); empty where
// there is none.
std::string UnitOf(absl::string_view path);
std::string ContainerOf(absl::string_view path);

}  // namespace faultline
