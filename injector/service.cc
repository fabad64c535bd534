// SPDX-License-Identifier: Apache-2.0
#include "injector/service.h"

#include <deque>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/status.h"
#include "injector/lane.h"

namespace faultline {
namespace {

using Context = grpc::CallbackServerContext;

// States that wait for a slow watcher; one that is further behind is told to start again.
constexpr size_t kMaxWaiting = 4096;

// Ends a unary call. Never blocks.
template <typename Response>
void Answer(grpc::ServerUnaryReactor* reactor, absl::StatusOr<Response> result,
            Response* response) {
  const grpc::Status status = ToGrpc(result.status());
  if (result.ok()) *response = *std::move(result);
  reactor->Finish(status);
}

// One watch: the controller pushes under its mutex, gRPC writes one state at a time. Deletes itself
// when the call is done. Calls the controller in `lane`, and never while it holds its own mutex.
class WatchStream final : public grpc::ServerWriteReactor<v1::FaultState> {
 public:
  WatchStream(Controller* controller, Lane* lane, bool active_only)
      : controller_(controller), lane_(lane) {
    const absl::Status posted = lane_->Post([this, active_only] { Begin(active_only); });
    const absl::MutexLock lock(&mutex_);
    if (!posted.ok()) FinishOnce(ToGrpc(posted));
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
    lane_->PostEnd([this] {
      controller_->Unwatch(watch_);
      delete this;
    });
  }

 private:
  void Begin(bool active_only) {
    {
      const absl::MutexLock lock(&mutex_);
      // Gone before it was its turn: the call may be none any more, and OnDone has posted the end.
      if (finished_) return;
      // Before anything happens, so that a watcher knows that it is heard.
      StartSendInitialMetadata();
    }
    watch_ = controller_->Watch(active_only, [this](const v1::FaultState& state) { Push(state); });
  }

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
  Lane* const lane_;
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
    return Do(&questions_, context, [this, response](grpc::ServerUnaryReactor* reactor) {
      Answer<v1::Capabilities>(reactor, controller_->GetCapabilities(), response);
    });
  }

  grpc::ServerUnaryReactor* Validate(Context* context, const v1::ValidateRequest* request,
                                     v1::Plan* response) override {
    return Do(&questions_, context, [this, request, response](grpc::ServerUnaryReactor* reactor) {
      Answer(reactor, controller_->Validate(request->spec(), !may_release_), response);
    });
  }

  grpc::ServerUnaryReactor* Start(Context* context, const v1::StartRequest* request,
                                  v1::FaultState* response) override {
    const Instant commanded = controller_->Now();
    return Do(&starts_, context,
              [this, commanded, request, response](grpc::ServerUnaryReactor* reactor) {
                controller_->Start(request->spec(), commanded, !may_release_,
                                   ToCaller(reactor, response));
              });
  }

  grpc::ServerUnaryReactor* Stop(Context* context, const v1::StopRequest* request,
                                 v1::FaultState* response) override {
    return Do(&stops_, context, [this, request, response](grpc::ServerUnaryReactor* reactor) {
      controller_->Stop(request->fault_id(), ToCaller(reactor, response));
    });
  }

  grpc::ServerUnaryReactor* Halt(Context* context, const v1::HaltRequest* request,
                                 v1::HaltResponse* response) override {
    return Do(&halts_, context, [this, request, response](grpc::ServerUnaryReactor* reactor) {
      controller_->Halt(request->reason(), ToCaller(reactor, response));
    });
  }

  grpc::ServerUnaryReactor* Release(Context* context, const v1::ReleaseRequest* /*request*/,
                                    v1::ReleaseResponse* response) override {
    return Do(&halts_, context, [this, response](grpc::ServerUnaryReactor* reactor) {
      if (!may_release_) {
        Answer<v1::ReleaseResponse>(
            reactor,
            absl::PermissionDeniedError("only root releases a halt, on the host's root.sock"),
            response);
        return;
      }
      Answer(reactor, controller_->Release(), response);
    });
  }

  grpc::ServerUnaryReactor* List(Context* context, const v1::ListRequest* request,
                                 v1::ListResponse* response) override {
    return Do(&questions_, context, [this, request, response](grpc::ServerUnaryReactor* reactor) {
      Answer<v1::ListResponse>(reactor, controller_->List(request->active_only()), response);
    });
  }

  // Waits for nothing, so it needs no lane.
  grpc::ServerUnaryReactor* RenewLease(Context* context, const v1::LeaseRequest* request,
                                       v1::LeaseResponse* response) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    Answer(reactor, controller_->RenewLease(*request), response);
    return reactor;
  }

  grpc::ServerWriteReactor<v1::FaultState>* Watch(Context* /*context*/,
                                                  const v1::ListRequest* request) override {
    return new WatchStream(controller_, &questions_, request->active_only());
  }

 private:
  // Has `work` answer the call in `lane`; what it was called with lives until then.
  template <typename Work>
  static grpc::ServerUnaryReactor* Do(Lane* lane, Context* context, Work work) {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    const absl::Status posted = lane->Post([reactor, work = std::move(work)] { work(reactor); });
    if (!posted.ok()) reactor->Finish(ToGrpc(posted));
    return reactor;
  }

  template <typename Response>
  static std::function<void(absl::StatusOr<Response>)> ToCaller(grpc::ServerUnaryReactor* reactor,
                                                                Response* response) {
    return [reactor, response](absl::StatusOr<Response> result) {
      Answer(reactor, std::move(result), response);
    };
  }

  Controller* const controller_;
  // False also: what it asks for came through the agent, and is leased.
  const bool may_release_;
  Lane halts_;
  Lane stops_;
  Lane starts_;
  Lane questions_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeFaultsService(Controller* controller, bool may_release) {
  return std::make_unique<FaultsService>(controller, may_release);
}

}  // namespace faultline
