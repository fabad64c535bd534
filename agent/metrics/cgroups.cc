// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics/cgroups.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"

namespace faultline {
namespace {

constexpr const char* kRootPath = "/";
// Refreshes that a row is safe from being given to another group, so that a burst of new groups
// does not push itself out; also how long a failed search for room is not repeated.
constexpr std::int64_t kRestRefreshes = 10;
// Folded groups looked at per refresh, a few microseconds each.
constexpr size_t kProbesPerRefresh = 4;

SlotKey KeyOf(const CgroupPlace& place, int slot) { return {{place.id, place.hierarchy, 0}, slot}; }

// A place of `now` holds another directory than in `before`.
bool Replaced(const CgroupPlaces& before, const CgroupPlaces& now) {
  for (const CgroupPlace& old : before) {
    for (const CgroupPlace& place : now) {
      if (place.hierarchy == old.hierarchy && place.id != old.id) return true;
    }
  }
  return false;
}

}  // namespace

absl::StatusOr<std::unique_ptr<CgroupIndex>> CgroupIndex::Create(CgroupTree tree, int max_groups,
                                                                 std::uint64_t* next_id) {
  if (max_groups < 1 || max_groups > CGROUP_SLOTS - 1) {
    return absl::InvalidArgumentError(absl::StrCat("the number of control groups with a row is ",
                                                   max_groups, "; it must be from 1 to ",
                                                   CGROUP_SLOTS - 1));
  }
  std::unique_ptr<CgroupIndex> index(new CgroupIndex(std::move(tree), max_groups, next_id));
  index->walk_.Refresh();
  index->TrackExisting();
  return index;
}

CgroupIndex::CgroupIndex(CgroupTree tree, int max_groups, std::uint64_t* next_id)
    : tree_(std::move(tree)),
      max_groups_(static_cast<size_t>(max_groups)),
      next_id_(next_id),
      walk_(tree_),
      other_id_((*next_id)++) {
  for (int slot = CGROUP_SLOT_OTHER + 1; slot < slots(); ++slot) free_slots_.insert(slot);
}

int CgroupIndex::slots() const {
  return std::min(CGROUP_SLOTS, 2 * static_cast<int>(max_groups_) + 1);
}

void CgroupIndex::Refresh() {
  ++refreshes_;
  keys_added_.clear();
  keys_removed_.clear();
  slots_retired_.clear();
  RetireLeavers();
  const bool retired = !slots_retired_.empty();
  if (walk_.Refresh() || retired) {
    UpdateRows();
    DropFoldedThatWent();
    FindNewGroups();
  }
  PromoteBusyFolded();
  ListEntities();
}

void CgroupIndex::TrackExisting() {
  const CgroupPaths& paths = walk_.paths();
  if (const auto root = paths.find(kRootPath); root != paths.end()) {
    Track(root->first, root->second);
  }
  const bool all = paths.size() <= max_groups_;
  for (const bool busy : {true, false}) {
    for (const auto& [path, places] : paths) {
      if (taken_.contains(path) || !HasRoom()) continue;
      if (all || HasProcesses(path, places) == busy) Track(path, places);
    }
  }
  for (const auto& [path, places] : paths) {
    if (!taken_.contains(path)) Fold(path);
  }
  ListEntities();
}

void CgroupIndex::RetireLeavers() {
  for (auto row = rows_.begin(); row != rows_.end();) {
    if (!row->second.leaving) {
      ++row;
      continue;
    }
    slots_retired_.push_back(row->second.entity.slot);
    free_slots_.insert(row->second.entity.slot);
    taken_.erase(row->second.entity.name);
    row = rows_.erase(row);
  }
}

void CgroupIndex::UpdateRows() {
  for (auto& [id, row] : rows_) {
    if (row.leaving) continue;
    const auto now = walk_.paths().find(row.entity.name);
    if (now == walk_.paths().end() || Replaced(row.places, now->second)) {
      Leave(&row);
      continue;
    }
    if (row.places == now->second) continue;
    const auto missing = [](const CgroupPlaces& places, const CgroupPlace& place) {
      return std::find(places.begin(), places.end(), place) == places.end();
    };
    for (const CgroupPlace& place : row.places) {
      if (missing(now->second, place)) keys_removed_.push_back(KeyOf(place, row.entity.slot));
    }
    for (const CgroupPlace& place : now->second) {
      if (missing(row.places, place)) keys_added_.push_back(KeyOf(place, row.entity.slot));
    }
    row.places = now->second;
  }
}

void CgroupIndex::DropFoldedThatWent() {
  for (auto path = folded_queue_.begin(); path != folded_queue_.end();) {
    if (walk_.paths().contains(*path)) {
      ++path;
    } else {
      folded_.erase(*path);
      path = folded_queue_.erase(path);
    }
  }
}

void CgroupIndex::FindNewGroups() {
  for (const auto& [path, places] : walk_.paths()) {
    if (taken_.contains(path) || folded_.contains(path)) continue;
    if (HasRoom() || MakeRoom()) {
      Track(path, places);
    } else {
      Fold(path);
    }
  }
}

void CgroupIndex::PromoteBusyFolded() {
  const size_t probes = std::min(kProbesPerRefresh, folded_queue_.size());
  for (size_t i = 0; i < probes; ++i) {
    const std::string path = std::move(folded_queue_.front());
    folded_queue_.pop_front();
    const auto found = walk_.paths().find(path);
    const bool busy =
        found != walk_.paths().end() && !taken_.contains(path) && HasProcesses(path, found->second);
    if (busy && (HasRoom() || MakeRoom())) {
      folded_.erase(path);
      Track(path, found->second);
    } else {
      folded_queue_.push_back(path);
    }
  }
}

bool CgroupIndex::HasRoom() const { return live_ < max_groups_ && !free_slots_.empty(); }

// Evicts the group that has been tracked longest without having processes now.
bool CgroupIndex::MakeRoom() {
  if (refreshes_ < no_room_before_ || free_slots_.empty()) return false;
  for (auto& [id, row] : rows_) {
    if (row.leaving || row.entity.name == kRootPath) continue;
    if (refreshes_ - row.since < kRestRefreshes || HasProcesses(row.entity.name, row.places)) {
      continue;
    }
    const std::string path = row.entity.name;
    Leave(&row);
    Fold(path);
    return true;
  }
  no_room_before_ = refreshes_ + kRestRefreshes;
  return false;
}

bool CgroupIndex::HasProcesses(const std::string& path, const CgroupPlaces& places) const {
  for (const CgroupTree::Hierarchy& hierarchy : tree_.hierarchies()) {
    const auto here = std::find_if(places.begin(), places.end(), [&](const CgroupPlace& place) {
      return place.hierarchy == hierarchy.id;
    });
    if (here == places.end()) continue;
    const std::string file = CgroupTree::Directory(hierarchy, path) + "/cgroup.procs";
    const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    char first = 0;
    const ssize_t result = ::read(fd, &first, 1);
    const int error = errno;
    ::close(fd);
    // EOPNOTSUPP: a threaded group of v2, whose processes are listed further up.
    if (result > 0 || (result < 0 && error == EOPNOTSUPP)) return true;
  }
  return false;
}

void CgroupIndex::Track(const std::string& path, const CgroupPlaces& places) {
  Row row;
  row.entity.id = (*next_id_)++;
  row.entity.name = path;
  row.entity.slot = *free_slots_.begin();
  row.entity.unit = UnitOf(path);
  row.entity.container = ContainerOf(path);
  row.places = places;
  row.since = refreshes_;
  free_slots_.erase(free_slots_.begin());
  taken_.insert(path);
  ++live_;
  for (const CgroupPlace& place : places) keys_added_.push_back(KeyOf(place, row.entity.slot));
  rows_.emplace(row.entity.id, std::move(row));
}

void CgroupIndex::Fold(const std::string& path) {
  folded_.insert(path);
  folded_queue_.push_back(path);
  newly_folded_.push_back(path);
}

void CgroupIndex::Leave(Row* row) {
  row->leaving = true;
  --live_;
  for (const CgroupPlace& place : row->places) {
    keys_removed_.push_back(KeyOf(place, row->entity.slot));
  }
}

void CgroupIndex::ListEntities() {
  entities_.clear();
  entities_.reserve(rows_.size() + 1);
  entities_.push_back({other_id_, "~other", CGROUP_SLOT_OTHER, 0, "", ""});
  for (const auto& [id, row] : rows_) entities_.push_back(row.entity);
}

std::vector<SlotKey> CgroupIndex::keys() const {
  std::vector<SlotKey> result;
  for (const auto& [id, row] : rows_) {
    if (row.leaving) continue;
    for (const CgroupPlace& place : row.places) {
      result.push_back(KeyOf(place, row.entity.slot));
    }
  }
  return result;
}

const CgroupPlaces* CgroupIndex::PlacesOf(std::uint64_t entity) const {
  const auto row = rows_.find(entity);
  return row == rows_.end() || row->second.leaving ? nullptr : &row->second.places;
}

}  // namespace faultline
