// SPDX-License-Identifier: Apache-2.0
#include "collector/fleet.h"

#include <utility>

namespace faultline {

void Fleet::Connect(const std::string& node, const std::shared_ptr<NodeLink>& link) {
  std::shared_ptr<NodeLink> older = link;
  {
    const absl::MutexLock lock(&mutex_);
    std::swap(links_[node], older);
  }
  if (older != nullptr && older != link) {
    older->End(absl::AbortedError("a newer stream of the same node took over"));
  }
}

void Fleet::Disconnect(const std::string& node, const NodeLink* link) {
  const absl::MutexLock lock(&mutex_);
  const auto found = links_.find(node);
  if (found != links_.end() && found->second.get() == link) links_.erase(found);
}

std::shared_ptr<NodeLink> Fleet::Find(absl::string_view node) const {
  const absl::MutexLock lock(&mutex_);
  // std::map compares with std::string, which Debian's abseil view does not convert to.
  const auto found = links_.find(std::string(node));
  return found == links_.end() ? nullptr : found->second;
}

std::vector<std::string> Fleet::Connected() const {
  const absl::MutexLock lock(&mutex_);
  std::vector<std::string> names;
  for (const auto& entry : links_) names.push_back(entry.first);
  return names;
}

}  // namespace faultline
