// SPDX-License-Identifier: Apache-2.0
//
// A thread that does one thing after the other, for calls that may have to wait for the controller:
// gRPC has as few as two threads of its own, which others need. Thread-safe.
#pragma once

#include <deque>
#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"

namespace faultline {

class Lane {
 public:
  // Calls that wait at most.
  static constexpr size_t kMost = 256;

  Lane() : thread_([this] { Run(); }) {}
  // Does what was posted first. Nobody may post any more.
  ~Lane();
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  // Returns at once; `work` runs later, after all that was posted before. ResourceExhausted: too
  // much waits already, and it does not run.
  absl::Status Post(std::function<void()> work);
  // The same of what must run, as the end of a call whose begin was posted.
  void PostEnd(std::function<void()> work);

 private:
  void Run();
  bool HasWork() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return ending_ || !waiting_.empty(); }

  absl::Mutex mutex_;
  std::deque<std::function<void()>> waiting_ ABSL_GUARDED_BY(mutex_);
  bool ending_ ABSL_GUARDED_BY(mutex_) = false;
  // Last, as it uses the others.
  std::jthread thread_;
};

}  // namespace faultline
