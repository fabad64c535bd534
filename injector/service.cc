// SPDX-License-Identifier: Apache-2.0
#include "injector/service.h"

#include <deque>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/status.h"

namespace faultline {
namespace {

using Context = grpc::CallbackServerContext;

// States that wait for a slow watcher; one that is further behind is told to start again.
constexpr size_t kMaxWaiting = 4096;

// Answers a unary call.
template <typename Response>
grpc::ServerUnaryReactor* Answer(Context* context, absl::StatusOr<Response> result,
                                 Response* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const grpc::Status status = ToGrpc(result.status());
  if (result.ok()) *response = *std::move(result);
  reactor->Finish(status);
  return reactor;
}

// One watch: the controller pushes under its mutex, gRPC writes one state at a time. Deletes itself
// when the call is done. Never calls the controller while it holds its own mutex.
class WatchStream final : public grpc::ServerWriteReactor<v1::FaultState> {
 public:
  WatchStream(Controller* controller, bool active_only) : controller_(controller) {
    // At once, so that a watcher knows that it is heard before anything happens.
    StartSendInitialMetadata();
    watch_ = controller_->Watch(active_only, [this](const v1::FaultState& state) { Push(state); });
  }

  void OnWriteDone(bool ok) override {
    const absl::MutexLock lock(&mutex_);
    writing_ = false;
    if (!ok) {
      FinishOnce(grpc::Status(grpc::StatusCode::UNAVAILABLE, "the watcher has gone"));
      return;
    }
    WriteNext();
  }

  void OnCancel() override {
    const absl::MutexLock lock(&mutex_);
    FinishOnce(grpc::Status(grpc::StatusCode::CANCELLED, "cancelled"));
  }

  void OnDone() override {
    controller_->Unwatch(watch_);
    delete this;
  }

 private:
  void Push(const v1::FaultState& state) {
    const absl::MutexLock lock(&mutex_);
    if (finished_) return;
    if (waiting_.size() >= kMaxWaiting) {
      FinishOnce(grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED,
                              "the watcher is too far behind; watch again"));
      return;
    }
    waiting_.push_back(state);
    WriteNext();
  }

  void WriteNext() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (writing_ || finished_ || waiting_.empty()) return;
    current_ = std::move(waiting_.front());
    waiting_.pop_front();
    writing_ = true;
    StartWrite(&current_);
  }

  void FinishOnce(const grpc::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (finished_) return;
    finished_ = true;
    Finish(status);
  }

  Controller* const controller_;
  int watch_ = 0;
  absl::Mutex mutex_;
  std::deque<v1::FaultState> waiting_ ABSL_GUARDED_BY(mutex_);
  v1::FaultState current_ ABSL_GUARDED_BY(mutex_);
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
};

class FaultsService final : public v1::Faults::CallbackService {
 public:
  FaultsService(Controller* controller, bool may_release)
      : controller_(controller), may_release_(may_release) {}

  grpc::ServerUnaryReactor* GetCapabilities(Context* context,
                                            const v1::CapabilitiesRequest* /*request*/,
                                            v1::Capabilities* response) override {
    return Answer<v1::Capabilities>(context, controller_->GetCapabilities(), response);
  }

  grpc::ServerUnaryReactor* Validate(Context* context, const v1::ValidateRequest* request,
                                     v1::Plan* response) override {
    return Answer(context, controller_->Validate(request->spec()), response);
  }

  grpc::ServerUnaryReactor* Start(Context* context, const v1::StartRequest* request,
                                  v1::FaultState* response) override {
    return Answer(context, controller_->Start(request->spec()), response);
  }

  grpc::ServerUnaryReactor* Stop(Context* context, const v1::StopRequest* request,
                                 v1::FaultState* response) override {
    return Answer(context, controller_->Stop(request->fault_id()), response);
  }

  grpc::ServerUnaryReactor* Halt(Context* context, const v1::HaltRequest* request,
                                 v1::HaltResponse* response) override {
    return Answer(context, controller_->Halt(request->reason()), response);
  }

  grpc::ServerUnaryReactor* Release(Context* context, const v1::ReleaseRequest* /*request*/,
                                    v1::ReleaseResponse* response) override {
    if (!may_release_) {
      return Answer<v1::ReleaseResponse>(
          context,
          absl::PermissionDeniedError("only root releases a halt, on the host's root.sock"),
          response);
    }
    return Answer(context, controller_->Release(), response);
  }

  grpc::ServerUnaryReactor* List(Context* context, const v1::ListRequest* request,
                                 v1::ListResponse* response) override {
    return Answer<v1::ListResponse>(context, controller_->List(request->active_only()), response);
  }

  grpc::ServerWriteReactor<v1::FaultState>* Watch(Context* /*context*/,
                                                  const v1::ListRequest* request) override {
    return new WatchStream(controller_, request->active_only());
  }

 private:
  Controller* const controller_;
  const bool may_release_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeFaultsService(Controller* controller, bool may_release) {
  return std::make_unique<FaultsService>(controller, may_release);
}

}  // namespace faultline
