// SPDX-License-Identifier: Apache-2.0
//
// Commands that were sent to one node and wait for their results. Each is answered exactly once: by
// its result, by its deadline or by the end of the stream. Thread-safe; answers are called without
// any lock held.
#pragma once

#include <grpcpp/alarm.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "collector/fleet.h"

namespace faultline {

class PendingCalls : public std::enable_shared_from_this<PendingCalls> {
 public:
  // Yields the id for the command; 0 if the stream has ended, and `answer` has been called.
  std::uint64_t Add(std::chrono::system_clock::time_point deadline, NodeLink::Answer answer)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // A result without a call is late or forged, and dropped; false then.
  bool Resolve(std::uint64_t id, absl::StatusOr<v1::CommandResult> result)
      ABSL_LOCKS_EXCLUDED(mutex_);
  // The stream ended: every call that still waits gets `status`, and every later one.
  void Close(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Call {
    NodeLink::Answer answer;
    std::unique_ptr<grpc::Alarm> alarm;
  };

  absl::Mutex mutex_;
  std::uint64_t next_id_ ABSL_GUARDED_BY(mutex_) = 1;
  absl::Status closed_ ABSL_GUARDED_BY(mutex_);
  std::map<std::uint64_t, Call> calls_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace faultline
