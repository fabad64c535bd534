// SPDX-License-Identifier: Apache-2.0
//
// The services that list what the collector knows: nodes and runs. Driven by gRPC's callback
// threads; answers come from the reader's and the writer's thread.
#pragma once

#include <grpcpp/grpcpp.h>

#include "collector/fleet.h"
#include "collector/store/reader.h"
#include "collector/store/store.h"
#include "faultline/v1/datasets.grpc.pb.h"

namespace faultline {

class NodesService final : public v1::Nodes::CallbackService {
 public:
  NodesService(Reader* reader, Fleet* fleet) : reader_(reader), fleet_(fleet) {}

  grpc::ServerUnaryReactor* ListNodes(grpc::CallbackServerContext* context,
                                      const v1::ListNodesRequest* request,
                                      v1::ListNodesResponse* response) override;

 private:
  Reader* reader_;
  Fleet* fleet_;
};

class RunsService final : public v1::Runs::CallbackService {
 public:
  RunsService(Store* store, Reader* reader) : store_(store), reader_(reader) {}

  grpc::ServerUnaryReactor* StartRun(grpc::CallbackServerContext* context,
                                     const v1::StartRunRequest* request,
                                     v1::Run* response) override;
  grpc::ServerUnaryReactor* StopRun(grpc::CallbackServerContext* context,
                                    const v1::StopRunRequest* request, v1::Run* response) override;
  grpc::ServerUnaryReactor* ListRuns(grpc::CallbackServerContext* context,
                                     const v1::ListRunsRequest* request,
                                     v1::ListRunsResponse* response) override;

 private:
  Store* store_;
  Reader* reader_;
};

}  // namespace faultline
