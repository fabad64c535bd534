// SPDX-License-Identifier: Apache-2.0
//
// Where nodes deliver. One object per stream, driven by gRPC's callback threads and by the store's
// writer: no thread waits for a node. A stream reads its next message only when the one before is
// dealt with, so a node has at most one batch in the collector's memory.
#pragma once

#include <grpcpp/grpcpp.h>

#include "collector/fault_feed.h"
#include "collector/fleet.h"
#include "collector/store/store.h"
#include "faultline/v1/telemetry.grpc.pb.h"

namespace faultline {

class Ingest final : public v1::Ingest::CallbackService {
 public:
  // All of them must outlive the server.
  Ingest(Store* store, Fleet* fleet, FaultFeed* feed, Clock* clock)
      : store_(store), fleet_(fleet), feed_(feed), clock_(clock) {}

  grpc::ServerBidiReactor<v1::NodeMessage, v1::CollectorMessage>* Stream(
      grpc::CallbackServerContext* context) override;

 private:
  Store* store_;
  Fleet* fleet_;
  FaultFeed* feed_;
  Clock* clock_;
};

}  // namespace faultline
