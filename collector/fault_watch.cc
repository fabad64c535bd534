// SPDX-License-Identifier: Apache-2.0
#include "collector/fault_watch.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "collector/store/fault_progress.h"

namespace faultline {
namespace {

// Different faults that may wait for one watcher; a state is about a kilobyte.
constexpr std::size_t kMaxWatcherBacklog = 2048;

}  // namespace

std::shared_ptr<FaultWatch> FaultWatch::Begin(FaultFeed* feed, const std::string& node) {
  auto watch = std::make_shared<FaultWatch>(node);
  watch->self_ = watch;
  watch->feed_ = feed;
  FaultWatch* raw = watch.get();
  watch->feed_key_ = feed->Add([raw](const v1::FaultState& state) { raw->Add(state); });
  return watch;
}

void FaultWatch::Prime(const std::vector<v1::FaultState>& known) {
  const absl::MutexLock lock(&mutex_);
  // Oldest first, as they happened; the list comes newest first.
  for (auto state = known.rbegin(); state != known.rend(); ++state) Enqueue(*state);
  primed_ = true;
  WriteNext();
}

void FaultWatch::Add(const v1::FaultState& state) {
  if (!node_.empty() && state.node() != node_) return;
  const absl::MutexLock lock(&mutex_);
  Enqueue(state);
  WriteNext();
}

void FaultWatch::Enqueue(const v1::FaultState& state) {
  if (finished_) return;
  const std::string key = absl::StrCat(state.node(), "/", state.spec().id());
  const auto found = waiting_.find(key);
  if (found != waiting_.end()) {
    if (Supersedes(state, found->second)) found->second = state;
    return;
  }
  if (waiting_.size() >= kMaxWatcherBacklog) {
    finished_ = true;
    Finish({grpc::StatusCode::RESOURCE_EXHAUSTED, "the watcher reads too slowly; watch again"});
    return;
  }
  waiting_.emplace(key, state);
  order_.push_back(key);
}

void FaultWatch::WriteNext() {
  if (finished_ || writing_ || !primed_ || order_.empty()) return;
  const auto next = waiting_.find(order_.front());
  outgoing_ = std::move(next->second);
  waiting_.erase(next);
  order_.pop_front();
  writing_ = true;
  StartWrite(&outgoing_);
}

void FaultWatch::OnWriteDone(bool ok) {
  const absl::MutexLock lock(&mutex_);
  writing_ = false;
  if (ok) WriteNext();
}

void FaultWatch::End(const grpc::Status& status) {
  const absl::MutexLock lock(&mutex_);
  if (finished_) return;
  finished_ = true;
  Finish(status);
}

void FaultWatch::OnDone() {
  feed_->Remove(feed_key_);
  self_.reset();
}

}  // namespace faultline
