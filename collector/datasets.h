// SPDX-License-Identifier: Apache-2.0
//
// The Datasets service. Each export has a thread and a store connection of its own and is as fast
// as its reader: neither gRPC's threads nor the writer ever wait for it.
#pragma once

#include <grpcpp/grpcpp.h>

#include <atomic>

#include "base/clock.h"
#include "collector/fleet.h"
#include "collector/store/store.h"
#include "faultline/v1/datasets.grpc.pb.h"

namespace faultline {

class DatasetsService final : public v1::Datasets::CallbackService {
 public:
  // All of them must outlive the server.
  DatasetsService(Store* store, Fleet* fleet, Clock* clock)
      : store_(store), fleet_(fleet), clock_(clock) {}

  grpc::ServerWriteReactor<v1::ExportChunk>* Export(grpc::CallbackServerContext* context,
                                                    const v1::ExportRequest* request) override;

 private:
  Store* store_;
  Fleet* fleet_;
  Clock* clock_;
  std::atomic<int> running_{0};
};

}  // namespace faultline
