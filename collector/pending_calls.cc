// SPDX-License-Identifier: Apache-2.0
#include "collector/pending_calls.h"

#include <utility>
#include <vector>

namespace faultline {

std::uint64_t PendingCalls::Add(std::chrono::system_clock::time_point deadline,
                                NodeLink::Answer answer) {
  absl::Status closed;
  {
    const absl::MutexLock lock(&mutex_);
    closed = closed_;
    if (closed.ok()) {
      const std::uint64_t id = next_id_++;
      Call& call = calls_[id];
      call.answer = std::move(answer);
      call.alarm = std::make_unique<grpc::Alarm>();
      call.alarm->Set(deadline, [self = weak_from_this(), id](bool expired) {
        const auto calls = self.lock();
        if (!expired || calls == nullptr) return;
        calls->Resolve(id, absl::DeadlineExceededError(
                               "the node did not answer in time; the command may still have run"));
      });
      return id;
    }
  }
  answer(closed);
  return 0;
}

bool PendingCalls::Resolve(std::uint64_t id, absl::StatusOr<v1::CommandResult> result) {
  Call call;
  {
    const absl::MutexLock lock(&mutex_);
    const auto found = calls_.find(id);
    if (found == calls_.end()) return false;
    call = std::move(found->second);
    calls_.erase(found);
  }
  call.answer(std::move(result));
  return true;
}

void PendingCalls::Close(const absl::Status& status) {
  std::map<std::uint64_t, Call> calls;
  {
    const absl::MutexLock lock(&mutex_);
    if (closed_.ok()) closed_ = status;
    calls.swap(calls_);
  }
  for (auto& entry : calls) entry.second.answer(status);
}

}  // namespace faultline
