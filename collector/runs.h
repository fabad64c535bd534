// SPDX-License-Identifier: Apache-2.0
//
// The Runs service: named spans of time, the unit of export, and what is held on the targets of
// each while it is open. Driven by gRPC's callback threads; answers come from the reader's, the
// writer's and the nodes' threads, and nothing here waits.
#pragma once

#include <grpcpp/grpcpp.h>

#include "collector/fleet.h"
#include "collector/run_holds.h"
#include "collector/store/reader.h"
#include "collector/store/store.h"
#include "faultline/v1/datasets.grpc.pb.h"

namespace faultline {

class RunsService final : public v1::Runs::CallbackService {
 public:
  // All of them must outlive the server.
  RunsService(Store* store, Reader* reader, Fleet* fleet)
      : store_(store), reader_(reader), holds_(fleet) {}

  grpc::ServerUnaryReactor* StartRun(grpc::CallbackServerContext* context,
                                     const v1::StartRunRequest* request,
                                     v1::Run* response) override;
  grpc::ServerUnaryReactor* StopRun(grpc::CallbackServerContext* context,
                                    const v1::StopRunRequest* request, v1::Run* response) override;
  grpc::ServerUnaryReactor* ListRuns(grpc::CallbackServerContext* context,
                                     const v1::ListRunsRequest* request,
                                     v1::ListRunsResponse* response) override;

 private:
  // Opens `run`, whose targets are held; lets go of them if that does not work.
  void Open(const v1::Run& run, const RunHolds::Done& done);

  Store* store_;
  Reader* reader_;
  RunHolds holds_;
};

}  // namespace faultline
