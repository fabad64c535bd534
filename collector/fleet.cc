// SPDX-License-Identifier: Apache-2.0
#include "collector/fleet.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace faultline {

absl::Status Fleet::Claim(const std::string& node, const std::string& epoch,
                          const std::shared_ptr<NodeLink>& link) {
  std::shared_ptr<NodeLink> older;
  {
    const absl::MutexLock lock(&mutex_);
    Way& way = ways_[node];
    if (way.link != nullptr && way.link != link && way.epoch != epoch) {
      return absl::AlreadyExistsError(absl::StrCat(
          "an agent named ", node,
          " is connected already; give this one another name with --node, or end the other"));
    }
    way.epoch = epoch;
    if (way.link != link) {
      older = std::exchange(way.link, link);
      way.open = false;
    }
  }
  if (older != nullptr) {
    older->End(absl::AbortedError("a newer stream of the same node took over"));
  }
  return absl::OkStatus();
}

bool Fleet::Open(const std::string& node, const NodeLink* link) {
  const absl::MutexLock lock(&mutex_);
  const auto found = ways_.find(node);
  if (found == ways_.end() || found->second.link.get() != link) return false;
  return !std::exchange(found->second.open, true);
}

void Fleet::Disconnect(const std::string& node, const NodeLink* link) {
  const absl::MutexLock lock(&mutex_);
  const auto found = ways_.find(node);
  if (found != ways_.end() && found->second.link.get() == link) ways_.erase(found);
}

std::shared_ptr<NodeLink> Fleet::Find(absl::string_view node) const {
  const absl::MutexLock lock(&mutex_);
  // std::map compares with std::string, which Debian's abseil view does not convert to.
  const auto found = ways_.find(std::string(node));
  return found == ways_.end() || !found->second.open ? nullptr : found->second.link;
}

void Fleet::RenewLeases() const {
  std::vector<std::shared_ptr<NodeLink>> links;
  {
    const absl::MutexLock lock(&mutex_);
    for (const auto& [name, way] : ways_) {
      if (way.open) links.push_back(way.link);
    }
  }
  for (const std::shared_ptr<NodeLink>& link : links) link->RenewLease();
}

std::vector<std::string> Fleet::Connected() const {
  const absl::MutexLock lock(&mutex_);
  std::vector<std::string> names;
  for (const auto& [name, way] : ways_) {
    if (way.open) names.push_back(name);
  }
  return names;
}

}  // namespace faultline
