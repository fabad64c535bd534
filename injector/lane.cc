// SPDX-License-Identifier: Apache-2.0
#include "injector/lane.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace faultline {

Lane::~Lane() {
  {
    const absl::MutexLock lock(&mutex_);
    ending_ = true;
  }
  thread_.join();
}

absl::Status Lane::Post(std::function<void()> work) {
  const absl::MutexLock lock(&mutex_);
  if (waiting_.size() >= kMost) {
    return absl::ResourceExhaustedError(
        absl::StrCat(kMost, " calls of this kind wait for the injector already; try again later"));
  }
  waiting_.push_back(std::move(work));
  return absl::OkStatus();
}

void Lane::PostEnd(std::function<void()> work) {
  const absl::MutexLock lock(&mutex_);
  waiting_.push_back(std::move(work));
}

void Lane::Run() {
  while (true) {
    std::function<void()> work;
    {
      const absl::MutexLock lock(&mutex_);
      mutex_.Await(absl::Condition(this, &Lane::HasWork));
      if (waiting_.empty()) return;
      work = std::move(waiting_.front());
      waiting_.pop_front();
    }
    work();
  }
}

}  // namespace faultline
