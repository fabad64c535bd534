// SPDX-License-Identifier: Apache-2.0
#include "collector/fault_feed.h"

#include <utility>

namespace faultline {

std::int64_t FaultFeed::Add(Listener listener) {
  const absl::MutexLock lock(&mutex_);
  listeners_[next_key_] = std::move(listener);
  return next_key_++;
}

void FaultFeed::Remove(std::int64_t key) {
  const absl::MutexLock lock(&mutex_);
  listeners_.erase(key);
}

void FaultFeed::Publish(const v1::FaultState& state) {
  const absl::MutexLock lock(&mutex_);
  for (const auto& entry : listeners_) entry.second(state);
}

}  // namespace faultline
