// SPDX-License-Identifier: Apache-2.0
#include "collector/store/reader.h"

#include <utility>

namespace faultline {
namespace {

// A question takes below a millisecond; whoever meets more waiting ones should come later.
constexpr std::size_t kMaxWaiting = 1024;

}  // namespace

Reader::Reader(std::unique_ptr<Catalogue> catalogue)
    : catalogue_(std::move(catalogue)), thread_([this] { Loop(); }) {}

Reader::~Reader() {
  {
    const absl::MutexLock lock(&mutex_);
    closing_ = true;
  }
  thread_.join();
}

bool Reader::Submit(Task task) {
  const absl::MutexLock lock(&mutex_);
  if (queue_.size() >= kMaxWaiting) return false;
  queue_.push_back(std::move(task));
  return true;
}

void Reader::Loop() {
  while (true) {
    Task task;
    {
      const absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(
          +[](Reader* self) ABSL_EXCLUSIVE_LOCKS_REQUIRED(self->mutex_) {
            return self->closing_ || !self->queue_.empty();
          },
          this));
      if (queue_.empty()) return;
      task = std::move(queue_.front());
      queue_.pop_front();
    }
    task(*catalogue_);
  }
}

}  // namespace faultline
