// SPDX-License-Identifier: Apache-2.0
//
// The parts of net.h: how outbound loss is made, also for the tests that try each way on one
// kernel; and whether packets can be steered.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "injector/host/kernel.h"
#include "injector/host/lever.h"
#include "injector/host/net.h"

namespace faultline {

enum class OutboundWay : std::uint8_t {
  // tcx where the kernel has it (6.6), otherwise the plane.
  kBest,
  // A tcx link per device: needs nothing on the device; attaches in 5 to 20 ms where no plane
  // stands.
  kTcx,
  // Steering into the sink class of the standing plane.
  kPlane,
};

absl::StatusOr<std::vector<std::unique_ptr<Lever>>> MakeLossBy(const NetKernel& kernel,
                                                               OutboundWay way,
                                                               const LossSpec& spec);

// Of ProbeNet: "rate", or with `delays` "delay".
absl::Status ProbeSteering(const NetKernel& kernel, bool delays,
                           const std::vector<PlaneDevice>& plane_devices);

}  // namespace faultline
