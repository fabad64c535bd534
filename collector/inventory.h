// SPDX-License-Identifier: Apache-2.0
//
// The service that lists what the collector knows of nodes. Driven by gRPC's callback threads;
// answers come from the reader's thread.
#pragma once

#include <grpcpp/grpcpp.h>

#include "collector/fleet.h"
#include "collector/store/reader.h"
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

}  // namespace faultline
