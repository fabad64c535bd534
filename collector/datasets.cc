// SPDX-License-Identifier: Apache-2.0
#include "collector/datasets.h"

#include <chrono>
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/status.h"
#include "collector/dataset/export.h"

namespace faultline {
namespace {

// More would only make each of them slower.
constexpr int kMaxExports = 2;
// Chunks (256 KiB each) that wait for a slow reader.
constexpr std::size_t kMaxWaiting = 4;
// How long the last samples of a run that has just ended are waited for.
constexpr std::chrono::seconds kStragglerWait{5};
constexpr std::chrono::milliseconds kStragglerPoll{50};

// One export: the thread that makes it and the stream that it goes out on.
class ExportCall final : public grpc::ServerWriteReactor<v1::ExportChunk> {
 public:
  ExportCall(Store* store, Fleet* fleet, Clock* clock, std::atomic<int>* running, std::string run)
      : store_(store), fleet_(fleet), clock_(clock), running_(running), run_(std::move(run)) {}

  // Separate from construction: the thread uses all of it.
  void Begin() {
    thread_ = std::jthread([this] { End(Work()); });
  }

  void OnWriteDone(bool ok) override {
    const absl::MutexLock lock(&mutex_);
    writing_ = false;
    if (ok) {
      WriteNext();
    } else {
      cancelled_ = true;
    }
  }

  void OnCancel() override {
    const absl::MutexLock lock(&mutex_);
    cancelled_ = true;
  }

  void OnDone() override {
    // It has called Finish or is about to return from doing so.
    if (thread_.joinable()) thread_.join();
    --*running_;
    delete this;
  }

 private:
  absl::Status Work() {
    auto catalogue = store_->OpenCatalogue();
    if (!catalogue.ok()) return catalogue.status();
    auto status = WaitForStragglers(catalogue->get());
    if (!status.ok()) return status;
    FileSink sink([this](v1::ExportChunk chunk) { return Push(std::move(chunk)); });
    return ExportRun(catalogue->get(), run_, clock_->Now().realtime_ns, &sink);
  }

  // A run that ended a moment ago: its last windows are still on their way from connected nodes.
  absl::Status WaitForStragglers(Catalogue* catalogue) {
    const auto until = std::chrono::steady_clock::now() + kStragglerWait;
    while (std::chrono::steady_clock::now() < until) {
      const auto run = catalogue->FindRun(run_);
      if (!run.ok()) return run.status();
      const auto nodes = catalogue->Nodes();
      if (!nodes.ok()) return nodes.status();
      if (run->end_realtime_ns() == 0 || HaveAll(*nodes, run->end_realtime_ns())) break;
      const absl::MutexLock lock(&mutex_);
      if (mutex_.AwaitWithTimeout(absl::Condition(&cancelled_), absl::FromChrono(kStragglerPoll))) {
        return absl::CancelledError("the export was cancelled");
      }
    }
    return absl::OkStatus();
  }

  bool HaveAll(const std::vector<NodeRow>& nodes, std::int64_t end_ns) const {
    for (const NodeRow& row : nodes) {
      // A node without a frame at the end of the run sends one within its interval.
      if (fleet_->Find(row.status.node().id()) != nullptr &&
          row.status.last_frame_realtime_ns() < end_ns) {
        return false;
      }
    }
    return true;
  }

  bool CanPush() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return cancelled_ || waiting_.size() < kMaxWaiting;
  }

  absl::Status Push(v1::ExportChunk chunk) {
    const absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(this, &ExportCall::CanPush));
    if (cancelled_) return absl::CancelledError("the export was cancelled");
    waiting_.push_back(std::move(chunk));
    WriteNext();
    return absl::OkStatus();
  }

  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (writing_ || waiting_.empty() || cancelled_) return;
    outgoing_ = std::move(waiting_.front());
    waiting_.pop_front();
    writing_ = true;
    StartWrite(&outgoing_);
  }

  bool IsDrained() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return cancelled_ || (!writing_ && waiting_.empty());
  }

  void End(const absl::Status& status) {
    const absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(this, &ExportCall::IsDrained));
    Finish(ToGrpc(status));
  }

  Store* const store_;
  Fleet* const fleet_;
  Clock* const clock_;
  std::atomic<int>* const running_;
  const std::string run_;

  absl::Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<v1::ExportChunk> waiting_ ABSL_GUARDED_BY(mutex_);
  // Touched only while no write is going on.
  v1::ExportChunk outgoing_;
  // Declared last: it uses everything above.
  std::jthread thread_;
};

// An answer without a thread.
class RefusedExport final : public grpc::ServerWriteReactor<v1::ExportChunk> {
 public:
  explicit RefusedExport(const grpc::Status& status) { Finish(status); }
  void OnDone() override { delete this; }
};

}  // namespace

grpc::ServerWriteReactor<v1::ExportChunk>* DatasetsService::Export(
    grpc::CallbackServerContext* /*context*/, const v1::ExportRequest* request) {
  if (++running_ > kMaxExports) {
    --running_;
    return new RefusedExport({grpc::StatusCode::RESOURCE_EXHAUSTED,
                              "two exports are being made already; try again when one is done"});
  }
  auto* call = new ExportCall(store_, fleet_, clock_, &running_, request->run());
  call->Begin();
  return call;
}

}  // namespace faultline
