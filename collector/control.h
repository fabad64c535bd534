// SPDX-License-Identifier: Apache-2.0
//
// The Faults service for the fleet: finds the node that a call means, passes the call down the
// stream that the node opened, and hands its answer back. Driven by gRPC's callback threads;
// nothing here waits.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>

#include "collector/fault_feed.h"
#include "collector/fleet.h"
#include "collector/store/reader.h"
#include "collector/store/store.h"
#include "faultline/v1/faults.grpc.pb.h"

namespace faultline {

class Control final : public v1::Faults::CallbackService {
 public:
  // All of them must outlive the server.
  Control(Store* store, Reader* reader, Fleet* fleet, FaultFeed* feed)
      : store_(store), reader_(reader), fleet_(fleet), feed_(feed) {}

  grpc::ServerUnaryReactor* GetCapabilities(grpc::CallbackServerContext* context,
                                            const v1::CapabilitiesRequest* request,
                                            v1::Capabilities* response) override;
  grpc::ServerUnaryReactor* Validate(grpc::CallbackServerContext* context,
                                     const v1::ValidateRequest* request,
                                     v1::Plan* response) override;
  grpc::ServerUnaryReactor* Start(grpc::CallbackServerContext* context,
                                  const v1::StartRequest* request,
                                  v1::FaultState* response) override;
  grpc::ServerUnaryReactor* Stop(grpc::CallbackServerContext* context,
                                 const v1::StopRequest* request, v1::FaultState* response) override;
  grpc::ServerUnaryReactor* Halt(grpc::CallbackServerContext* context,
                                 const v1::HaltRequest* request,
                                 v1::HaltResponse* response) override;
  grpc::ServerUnaryReactor* Release(grpc::CallbackServerContext* context,
                                    const v1::ReleaseRequest* request,
                                    v1::ReleaseResponse* response) override;
  grpc::ServerUnaryReactor* List(grpc::CallbackServerContext* context,
                                 const v1::ListRequest* request,
                                 v1::ListResponse* response) override;
  grpc::ServerWriteReactor<v1::FaultState>* Watch(grpc::CallbackServerContext* context,
                                                  const v1::ListRequest* request) override;

 private:
  // Takes the result apart and finishes the call; `node` is who answered.
  using Deliver = std::function<void(const std::string& node, v1::CommandResult result)>;

  // Sends `command` to `node`, or to the only connected one if it is empty; finishes the call
  // unless there is a result to deliver.
  void Forward(grpc::CallbackServerContext* context, const std::string& node, v1::Command command,
               grpc::ServerUnaryReactor* reactor, Deliver deliver);
  // For the calls whose answer is a fault's state.
  Deliver FinishWithState(v1::FaultState* response, grpc::ServerUnaryReactor* reactor);
  // Finishes the call with NotFound or Unavailable, whichever `node` is.
  void RefuseAbsent(const std::string& node, grpc::ServerUnaryReactor* reactor);
  // Keeps and spreads a state that came as an answer; `then` follows in any case.
  void Learn(const v1::FaultState& fault, const std::function<void()>& then);

  Store* store_;
  Reader* reader_;
  Fleet* fleet_;
  FaultFeed* feed_;
};

}  // namespace faultline
