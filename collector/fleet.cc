// SPDX-License-Identifier: Apache-2.0
#include "collector/fleet.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace faultline {

absl::Status Fleet::Check(const std::string& node, const std::string& epoch,
                          const NodeLink* link) const {
  const auto found = ways_.find(node);
  if (found == ways_.end() || found->second.link.get() == link || found->second.epoch == epoch) {
    return absl::OkStatus();
  }
  return absl::AlreadyExistsError(absl::StrCat(
      "an agent named ", node,
      " is connected already; give this one another name with --node, or end the other"));
}

absl::Status Fleet::MayConnect(const std::string& node, const std::string& epoch,
                               const NodeLink* link) const {
  const absl::MutexLock lock(&mutex_);
  return Check(node, epoch, link);
}

absl::Status Fleet::Connect(const std::string& node, const std::string& epoch,
                            const std::shared_ptr<NodeLink>& link) {
  std::shared_ptr<NodeLink> older = link;
  {
    const absl::MutexLock lock(&mutex_);
    absl::Status status = Check(node, epoch, link.get());
    if (!status.ok()) return status;
    Way& way = ways_[node];
    way.epoch = epoch;
    std::swap(way.link, older);
  }
  if (older != nullptr && older != link) {
    older->End(absl::AbortedError("a newer stream of the same node took over"));
  }
  return absl::OkStatus();
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
  return found == ways_.end() ? nullptr : found->second.link;
}

std::vector<std::string> Fleet::Connected() const {
  const absl::MutexLock lock(&mutex_);
  std::vector<std::string> names;
  for (const auto& entry : ways_) names.push_back(entry.first);
  return names;
}

}  // namespace faultline
