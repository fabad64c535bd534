// SPDX-License-Identifier: Apache-2.0
#include "collector/inventory.h"

#include <set>
#include <string>
#include <utility>

#include "base/status.h"

namespace faultline {
grpc::ServerUnaryReactor* NodesService::ListNodes(grpc::CallbackServerContext* context,
                                                  const v1::ListNodesRequest* /*request*/,
                                                  v1::ListNodesResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const bool asked = reader_->Submit([this, reactor, response](Catalogue& catalogue) {
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
  if (!asked) {
    reactor->Finish({grpc::StatusCode::RESOURCE_EXHAUSTED, "too many questions wait; ask again"});
  }
  return reactor;
}

}  // namespace faultline
