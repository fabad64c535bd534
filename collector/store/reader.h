// SPDX-License-Identifier: Apache-2.0
//
// The one thread that answers short questions from the store, so that no gRPC thread ever waits for
// a disk. Tasks run in order, on a connection of the thread's own. Submit is thread-safe. Long
// reads (exports) have their own threads and connections.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "collector/store/catalogue.h"

namespace faultline {

class Reader {
 public:
  using Task = std::function<void(Catalogue&)>;

  explicit Reader(std::unique_ptr<Catalogue> catalogue);
  // Runs what was submitted, then ends.
  ~Reader();
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  // `task` must not block on anything but the store. False: too many wait already.
  bool Submit(Task task) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Loop() ABSL_LOCKS_EXCLUDED(mutex_);

  std::unique_ptr<Catalogue> catalogue_;
  absl::Mutex mutex_;
  std::deque<Task> queue_ ABSL_GUARDED_BY(mutex_);
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  // Declared last: it uses everything above.
  std::jthread thread_;
};

}  // namespace faultline
