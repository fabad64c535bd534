// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics/io_groups.h"

#include <unistd.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace faultline {
namespace {

// The controller may be switched on and off at any time; one look takes a microsecond.
constexpr std::int64_t kLookAgainTicks = 10;
// Groups come and go; entity ids never come again.
constexpr std::size_t kMaxKnown = 4096;

}  // namespace

IoGroups::IoGroups(const CgroupTree& tree) {
  const CgroupTree::Hierarchy* const owner = tree.For("blkio");
  if (owner == nullptr || owner->v2) v2_ = tree.V2();
}

bool IoGroups::Owns(const Entity& group) {
  // Where requests count that no other group takes.
  if (v2_ == nullptr || group.name == "/" || group.slot == CGROUP_SLOT_OTHER) return true;
  if (known_.size() > kMaxKnown) known_.clear();
  const auto [entry, fresh] = known_.try_emplace(group.id);
  Known& known = entry->second;
  if (fresh || tick_ - known.tick >= kLookAgainTicks) {
    const std::string file = absl::StrCat(CgroupTree::Directory(*v2_, group.name), "/io.stat");
    known = {::access(file.c_str(), F_OK) == 0, tick_};
  }
  return known.owns;
}

}  // namespace faultline
