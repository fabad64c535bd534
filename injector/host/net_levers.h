// SPDX-License-Identifier: Apache-2.0
//
// How outbound loss is made, for the tests that try each way on one kernel; net.h chooses.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "injector/host/host.h"

namespace faultline {

enum class OutboundWay : std::uint8_t {
  // tcx where the kernel has it (6.6), otherwise the plane.
  kBest,
  // A tcx link per device: needs nothing on the device, attaches in 5 to 15 ms.
  kTcx,
  // Steering into the sink class of the standing plane.
  kPlane,
};

absl::StatusOr<std::vector<std::unique_ptr<Lever>>> MakeLossBy(OutboundWay way,
                                                               const LossSpec& spec);

}  // namespace faultline
