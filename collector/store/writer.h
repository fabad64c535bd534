// SPDX-License-Identifier: Apache-2.0
//
// The one thread that writes the store. Work from all nodes that waits together is committed
// together: one fsync for many batches. Work runs in the order of Submit; its Done is called on the
// writer's thread after the commit, and must not block. Submit is thread-safe.
#pragma once

#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "collector/store/database.h"

namespace faultline {

class Writer {
 public:
  // What it changed is undone alone if it returns an error.
  using Work = std::function<absl::Status(Database&)>;
  // The work's own error, or that of the commit.
  using Done = std::function<void(const absl::Status&)>;

  explicit Writer(std::unique_ptr<Database> database);
  // Commits everything submitted, then closes the file.
  ~Writer();
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  void Submit(Work work, Done done) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Job {
    Work work;
    Done done;
    absl::Status status;
  };

  void Loop() ABSL_LOCKS_EXCLUDED(mutex_);
  void Commit(std::vector<Job>* jobs);
  void RunOne(Job* job);

  std::unique_ptr<Database> database_;
  absl::Mutex mutex_;
  std::vector<Job> queue_ ABSL_GUARDED_BY(mutex_);
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  // Declared last: it uses everything above.
  std::jthread thread_;
};

}  // namespace faultline
