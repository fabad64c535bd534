// SPDX-License-Identifier: Apache-2.0
//
// The network's part of a host: levers that lose packets of a control group, share a rate
// among them or hold them back, and the plane on which the latter two stand. Everything happens in
// the network namespace of the calling thread. Called under the controller's mutex: one thread at a
// time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "injector/faults/shape.h"
#include "injector/host/kernel.h"
#include "injector/host/lever.h"

namespace faultline {

// Packets of one control group that are to be lost.
struct LossSpec {
  std::string fault_id;
  std::string cgroup;
  // Parts per million; 1'000'000 is a partition.
  std::uint32_t loss_ppm = 0;
  bool inbound = false;
  bool outbound = false;
  // Devices for outbound loss; empty: every one that is up, loopback excepted.
  std::vector<std::string> devices;
  std::vector<v1::PeerFilter> peers;
  // Never met, whatever `peers` says.
  std::vector<v1::PeerFilter> exempt = {};
  std::uint64_t seed = 0;
  // CLOCK_BOOTTIME ns after which the program passes everything.
  std::int64_t deadline_ns = 0;
  // Followed by the program, from `start_ns` on, CLOCK_BOOTTIME.
  Shape shape;
  std::int64_t start_ns = 0;
};

// Packets of one control group that are steered into a class of one device's standing plane.
struct SteerSpec {
  std::string fault_id;
  std::string cgroup;
  std::string device;
  std::vector<v1::PeerFilter> peers;
  // As LossSpec's.
  std::vector<v1::PeerFilter> exempt = {};
  std::int64_t deadline_ns = 0;
  Shape shape;
  std::int64_t start_ns = 0;
};

// They share a rate. The class follows a ramp (Lever::SetLevel), the program pulses.
struct RateSpec : SteerSpec {
  std::int64_t bits_per_second = 0;
};

// They are held back, in order. The levers follow the shape (Lever::SetLevel).
struct DelaySpec : SteerSpec {
  std::int64_t delay_ns = 0;
  std::int64_t jitter_ns = 0;
};

// A device that is to have a standing plane.
struct PlaneDevice {
  std::string name;
  // Its owner allows that all it sends passes one queue in front, where it has several.
  bool merges_queues = false;
};

// As Host::Loss: programs are loaded, nothing is attached. InvalidArgument: the root control group,
// a bad filter or a fault without direction.
absl::StatusOr<std::vector<std::unique_ptr<Lever>>> MakeLoss(const NetKernel& kernel,
                                                             const LossSpec& spec);

// As Host::Rate. FailedPrecondition: `spec.device` has no plane.
absl::StatusOr<std::vector<std::unique_ptr<Lever>>> MakeRate(const NetKernel& kernel,
                                                             const RateSpec& spec);

// As Host::Delay. Unimplemented: the kernel has no netem; FailedPrecondition: `spec.device` has no
// plane; InvalidArgument: the jitter is no less than the delay, or what is held
// back would not be through between two pulses.
absl::StatusOr<std::vector<std::unique_ptr<Lever>>> MakeDelay(const NetKernel& kernel,
                                                              const DelaySpec& spec);

// A lever for a journaled change of kind "link", "net_class" or "net_plane". InvalidArgument: it
// cannot be read.
LeverOr RecoverNet(const NetKernel& kernel, const v1::Change& change);

// OK if this host can make levers of `kind`: "loss" (inbound), "loss.outbound", "rate" or "delay".
// Tries it without touching a packet. The last two on any device with a plane; where there is none,
// the reason is what keeps each of `plane_devices`, which were to have one, from it.
absl::Status ProbeNet(const NetKernel& kernel, absl::string_view kind,
                      const std::vector<PlaneDevice>& plane_devices = {});

// Puts the standing plane on `device`, or completes the one that stands there, and returns what
// changed (kind "net_plane"). The only step that can lose packets of others, so it belongs to the
// start of the service, or of the device. FailedPrecondition: the root is somebody's own, would not
// come back as it is, has several queues that may not be merged, or the device was never up;
// nothing was changed.
absl::StatusOr<v1::Change> SetUpPlane(const NetKernel& kernel, const PlaneDevice& device);

// Takes the plane away; the kernel puts its default root back, as it was before unless somebody
// changed the default meanwhile, which a recovered plane tells in a warning. OK where none stands.
absl::Status RemovePlane(const NetKernel& kernel, const std::string& device);

}  // namespace faultline
