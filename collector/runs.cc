// SPDX-License-Identifier: Apache-2.0
#include "collector/runs.h"

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "collector/check.h"
#include "collector/routing.h"
#include "proto/words.h"

namespace faultline {
namespace {

constexpr std::size_t kMaxNote = 4096;
// Of a run that could not be opened.
constexpr std::chrono::seconds kLetGoTimeout{30};

// Runs `task` on the reader's thread; it finishes the call.
void Ask(Reader* reader, grpc::ServerUnaryReactor* reactor, Reader::Task task) {
  if (reader->Submit(std::move(task))) return;
  reactor->Finish({grpc::StatusCode::RESOURCE_EXHAUSTED, "too many questions wait; ask again"});
}

// Passes a run or the error on to the caller.
RunHolds::Done FinishWith(v1::Run* response, grpc::ServerUnaryReactor* reactor) {
  return [response, reactor](absl::StatusOr<v1::Run> run) {
    if (run.ok()) *response = std::move(*run);
    reactor->Finish(ToGrpc(run.status()));
  };
}

absl::Status CheckRequest(const v1::StartRunRequest& request) {
  absl::Status status = CheckName(request.name(), "the run's name");
  if (status.ok() && request.note().size() > kMaxNote) {
    status = absl::InvalidArgumentError(absl::StrCat("the note is longer than ", kMaxNote));
  }
  return status.ok() ? CheckTargets(request) : status;
}

}  // namespace

void RunsService::Open(const v1::Run& run, const RunHolds::Done& done) {
  store_->StartRun(run, [this, run, done](absl::StatusOr<v1::Run> opened) {
    if (opened.ok() || run.targets().empty()) return done(std::move(opened));
    holds_.End(run, std::chrono::system_clock::now() + kLetGoTimeout,
               [status = opened.status(), done](const absl::StatusOr<v1::Run>& /*ended*/) {
                 done(status);
               });
  });
}

grpc::ServerUnaryReactor* RunsService::StartRun(grpc::CallbackServerContext* context,
                                                const v1::StartRunRequest* request,
                                                v1::Run* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const RunHolds::Done done = FinishWith(response, reactor);
  if (const absl::Status status = CheckRequest(*request); !status.ok()) {
    done(status);
    return reactor;
  }
  const auto deadline = DeadlineOf(context);
  // First what needs no node: a name that is taken must change nothing on any.
  Ask(reader_, reactor, [this, request, deadline, done](Catalogue& catalogue) {
    if (catalogue.FindRun(request->name()).ok()) {
      return done(absl::AlreadyExistsError(
          absl::StrCat("run ", request->name(), " exists already; choose another name")));
    }
    const auto nodes = catalogue.Nodes();
    if (!nodes.ok()) return done(nodes.status());
    const auto run = holds_.Plan(*request, NodeNames(*nodes));
    if (!run.ok()) return done(run.status());
    holds_.Begin(*run, request->hold_ns(), deadline, [this, done](absl::StatusOr<v1::Run> held) {
      if (!held.ok()) return done(std::move(held));
      Open(*held, done);
    });
  });
  return reactor;
}

grpc::ServerUnaryReactor* RunsService::StopRun(grpc::CallbackServerContext* context,
                                               const v1::StopRunRequest* request,
                                               v1::Run* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const RunHolds::Done done = FinishWith(response, reactor);
  const auto deadline = DeadlineOf(context);
  store_->StopRun(request->name(), [this, deadline, done](absl::StatusOr<v1::Run> closed) {
    if (!closed.ok() || closed->targets().empty()) return done(std::move(closed));
    holds_.End(*closed, deadline, [this, done](const absl::StatusOr<v1::Run>& ended) {
      for (const v1::RunTarget& target : ended->targets()) {
        if (target.remark().empty()) continue;
        LogWarning("run ", ended->name(), ": ", TargetText(target.target()), " on ", target.node(),
                   ": ", target.remark());
      }
      store_->SaveTargets(*ended, done);
    });
  });
  return reactor;
}

grpc::ServerUnaryReactor* RunsService::ListRuns(grpc::CallbackServerContext* context,
                                                const v1::ListRunsRequest* /*request*/,
                                                v1::ListRunsResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  Ask(reader_, reactor, [reactor, response](Catalogue& catalogue) {
    auto runs = catalogue.Runs();
    if (!runs.ok()) return reactor->Finish(ToGrpc(runs.status()));
    for (v1::Run& run : *runs) *response->add_runs() = std::move(run);
    reactor->Finish(grpc::Status::OK);
  });
  return reactor;
}

}  // namespace faultline
