// SPDX-License-Identifier: Apache-2.0
//
// The network's part of the real host: levers that lose packets of a control group or share a rate
// among them, and the plane on which the latter stand. Everything happens in the network namespace
// of the calling thread. Called under the controller's mutex: one thread at a time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "injector/host/host.h"

namespace faultline {

// As Host::Loss: programs are loaded, nothing is attached. InvalidArgument: the root control group,
// a bad filter or a fault without direction.
absl::StatusOr<std::vector<std::unique_ptr<Lever>>> MakeLoss(const LossSpec& spec);

// As Host::Rate. FailedPrecondition: `spec.device` has no plane.
absl::StatusOr<std::vector<std::unique_ptr<Lever>>> MakeRate(const RateSpec& spec);

// A lever for a journaled change of kind "link", "net_class" or "net_plane". InvalidArgument: it
// cannot be read.
LeverOr RecoverNet(const v1::Change& change);

// OK if this host can make levers of `kind`: "loss" (inbound), "loss.outbound" or "rate". Tries it
// without touching a packet. "rate" on any device with a plane; where there is none, the reason is
// what keeps each of `plane_devices`, which were to have one, from it.
absl::Status ProbeNet(absl::string_view kind, const std::vector<std::string>& plane_devices = {});

// Puts the standing plane on `device`, or completes the one that stands there, and returns what
// changed (kind "net_plane"). The only step that can lose packets of others, so it belongs to the
// start of the service, or of the device. FailedPrecondition: the root is somebody's own, or the
// device was never up; nothing was changed.
absl::StatusOr<v1::Change> SetUpPlane(const std::string& device);

// Takes the plane away; the kernel puts its default root back, as it was before. OK where none
// stands.
absl::Status RemovePlane(const std::string& device);

}  // namespace faultline
