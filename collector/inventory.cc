// SPDX-License-Identifier: Apache-2.0
#include "collector/inventory.h"

#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "collector/check.h"

namespace faultline {
namespace {

constexpr std::size_t kMaxNote = 4096;

// Runs `task` on the reader's thread; it finishes the call.
void Ask(Reader* reader, grpc::ServerUnaryReactor* reactor, Reader::Task task) {
  if (reader->Submit(std::move(task))) return;
  reactor->Finish({grpc::StatusCode::RESOURCE_EXHAUSTED, "too many questions wait; ask again"});
}

// Passes a run or the error on to the caller.
std::function<void(absl::StatusOr<v1::Run>)> FinishWith(v1::Run* response,
                                                        grpc::ServerUnaryReactor* reactor) {
  return [response, reactor](absl::StatusOr<v1::Run> run) {
    if (run.ok()) *response = std::move(*run);
    reactor->Finish(ToGrpc(run.status()));
  };
}

}  // namespace

grpc::ServerUnaryReactor* NodesService::ListNodes(grpc::CallbackServerContext* context,
                                                  const v1::ListNodesRequest* /*request*/,
                                                  v1::ListNodesResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  Ask(reader_, reactor, [this, reactor, response](Catalogue& catalogue) {
    auto nodes = catalogue.Nodes();
    if (!nodes.ok()) return reactor->Finish(ToGrpc(nodes.status()));
    const std::vector<std::string> names = fleet_->Connected();
    const std::set<std::string> connected(names.begin(), names.end());
    for (NodeRow& row : *nodes) {
      row.status.set_connected(connected.count(row.status.node().id()) != 0);
      *response->add_nodes() = std::move(row.status);
    }
    reactor->Finish(grpc::Status::OK);
  });
  return reactor;
}

grpc::ServerUnaryReactor* RunsService::StartRun(grpc::CallbackServerContext* context,
                                                const v1::StartRunRequest* request,
                                                v1::Run* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  absl::Status status = CheckName(request->name(), "the run's name");
  if (status.ok() && request->note().size() > kMaxNote) {
    status = absl::InvalidArgumentError(absl::StrCat("the note is longer than ", kMaxNote));
  }
  if (status.ok()) {
    store_->StartRun(request->name(), request->note(), FinishWith(response, reactor));
  } else {
    reactor->Finish(ToGrpc(status));
  }
  return reactor;
}

grpc::ServerUnaryReactor* RunsService::StopRun(grpc::CallbackServerContext* context,
                                               const v1::StopRunRequest* request,
                                               v1::Run* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  store_->StopRun(request->name(), FinishWith(response, reactor));
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
