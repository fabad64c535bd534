// SPDX-License-Identifier: Apache-2.0
//
// Who wants to hear of changes of faults, and the telling. Thread-safe; listeners are called under
// the feed's lock, so that none is called after its Remove, and must neither block nor call back.
#pragma once

#include <cstdint>
#include <functional>
#include <map>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "faultline/v1/faults.pb.h"

namespace faultline {

class FaultFeed {
 public:
  using Listener = std::function<void(const v1::FaultState&)>;

  // Yields the key for Remove.
  std::int64_t Add(Listener listener) ABSL_LOCKS_EXCLUDED(mutex_);
  void Remove(std::int64_t key) ABSL_LOCKS_EXCLUDED(mutex_);
  // `state` names its node.
  void Publish(const v1::FaultState& state) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  absl::Mutex mutex_;
  std::int64_t next_key_ ABSL_GUARDED_BY(mutex_) = 1;
  std::map<std::int64_t, Listener> listeners_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace faultline
