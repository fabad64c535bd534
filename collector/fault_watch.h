// SPDX-License-Identifier: Apache-2.0
//
// One watcher of faults: first what is known, then every change. Waiting states are kept one per
// fault, the newest, so a slow watcher misses steps in between but never the last one. Driven by
// gRPC's callback threads, the reader and the feed.
#pragma once

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "collector/fault_feed.h"
#include "faultline/v1/faults.pb.h"

namespace faultline {

class FaultWatch final : public grpc::ServerWriteReactor<v1::FaultState>,
                         public std::enable_shared_from_this<FaultWatch> {
 public:
  // `node` empty: all. It lives until gRPC is done with it.
  static std::shared_ptr<FaultWatch> Begin(FaultFeed* feed, const std::string& node);
  explicit FaultWatch(std::string node) : node_(std::move(node)) {}

  // The states of now; changes wait for them.
  void Prime(const std::vector<v1::FaultState>& known) ABSL_LOCKS_EXCLUDED(mutex_);
  void End(const grpc::Status& status) ABSL_LOCKS_EXCLUDED(mutex_);

  void OnWriteDone(bool ok) override ABSL_LOCKS_EXCLUDED(mutex_);
  void OnCancel() override { End(grpc::Status::CANCELLED); }
  void OnDone() override;

 private:
  void Add(const v1::FaultState& state) ABSL_LOCKS_EXCLUDED(mutex_);
  void Enqueue(const v1::FaultState& state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string node_;
  FaultFeed* feed_ = nullptr;
  std::int64_t feed_key_ = 0;
  std::shared_ptr<FaultWatch> self_;

  absl::Mutex mutex_;
  bool primed_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  v1::FaultState outgoing_;
  // By node and fault, and the order in which they go out.
  std::map<std::string, v1::FaultState> waiting_ ABSL_GUARDED_BY(mutex_);
  std::deque<std::string> order_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace faultline
