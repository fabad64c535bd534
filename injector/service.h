// SPDX-License-Identifier: Apache-2.0
//
// The Faults service of one socket, on gRPC's callback API: no thread per call. Calls change the
// host for milliseconds and run where gRPC delivers them; a watch is a stream that is written when
// something happens. Thread-safe.
#pragma once

#include <memory>

#include "faultline/v1/faults.grpc.pb.h"
#include "injector/controller.h"

namespace faultline {

// `may_release`: this is root's own socket. `controller` must outlive the service.
std::unique_ptr<grpc::Service> MakeFaultsService(Controller* controller, bool may_release);

}  // namespace faultline
