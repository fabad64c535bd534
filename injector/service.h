// SPDX-License-Identifier: Apache-2.0
//
// The Faults service of one socket, on gRPC's callback API: no thread per call. What may have to
// wait for the controller runs in one of four lanes (halts and their releases, stops, starts,
// questions), so that no kind holds up another for longer than the one change under way, and gRPC's
// own threads, on which a renewal of the lease runs, wait for nothing. What takes time to begin or
// to end holds no lane meanwhile; a start that the host is too busy to plan holds the other starts,
// up to 5 s. A watch is a stream that is written when something happens. Thread-safe.
#pragma once

#include <memory>

#include "faultline/v1/faults.grpc.pb.h"
#include "injector/controller.h"

namespace faultline {

// `may_release`: this is root's own socket. `controller` must outlive the service, which must
// outlive the server that it is registered with.
std::unique_ptr<grpc::Service> MakeFaultsService(Controller* controller, bool may_release);

}  // namespace faultline
