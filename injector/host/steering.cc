// SPDX-License-Identifier: Apache-2.0
//
// The part of net.h that gives packets of a control group to a class of the standing plane.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "bpf/fault.h"
#include "injector/host/link.h"
#include "injector/host/net.h"
#include "injector/host/net_levers.h"
#include "injector/host/net_rule.h"
#include "injector/host/plane.h"
#include "injector/host/plane_class.h"

namespace faultline {
namespace {

using Levers = std::vector<std::unique_ptr<Lever>>;

// FailedPrecondition with what to do: no device has a plane.
absl::Status CheckAnyPlane(Traffic& traffic, const std::vector<PlaneDevice>& wanted) {
  absl::StatusOr<std::vector<NetDevice>> devices = traffic.Devices();
  if (!devices.ok()) return devices.status();
  std::vector<std::string> names;
  for (const NetDevice& device : *devices) {
    if (CheckPlane(traffic, device).ok()) return absl::OkStatus();
    if (device.up && !device.loopback) names.push_back(device.name);
  }
  std::vector<std::string> reasons;
  for (const PlaneDevice& one : wanted) {
    const absl::Status can = LookAtPlane(traffic, one).can;
    reasons.emplace_back(can.ok() ? absl::StrCat("the log of faultline-injector says why ",
                                                 one.name, " did not get one")
                                  : std::string(can.message()));
  }
  const std::string which = names.empty() ? "none is up" : absl::StrJoin(names, ", ");
  constexpr absl::string_view kNone = "no network device has a standing plane";
  if (wanted.empty()) {
    return absl::FailedPreconditionError(absl::StrCat(
        kNone, "; start faultline-injector with --plane-device and a device that is up (here: ",
        which, ")"));
  }
  return absl::FailedPreconditionError(
      absl::StrCat(kNone, ": ", absl::StrJoin(reasons, "; "),
                   "; that is tried again when it changes (devices that are up: ", which, ")"));
}

// What the program itself does of the shape: it follows pulses, and of a delay goes on after each
// until nothing waits that the packets it lets go would overtake. A ramp is the class's.
Shape ShapeOfProgram(const SteerSpec& spec, const ClassLeaf& leaf) {
  Shape shape = spec.shape;
  shape.ramp_ns = 0;
  if (!leaf.delays() || !shape.pulse()) return shape;
  shape.on_ns += leaf.SteeredPastNs();
  shape.off_ns -= leaf.SteeredPastNs();
  return shape;
}

absl::StatusOr<Levers> MakeSteering(const NetKernel& kernel, const SteerSpec& spec,
                                    const ClassLeaf& leaf) {
  const absl::StatusOr<fault_filters> filters =
      MakeFilters(absl::MakeConstSpan(spec.peers), absl::MakeConstSpan(spec.exempt));
  if (!filters.ok()) return filters.status();
  absl::Status status = kernel.programs->CheckGroup(spec.cgroup);
  if (status.ok()) status = kernel.programs->CheckNamespace(spec.cgroup);
  if (!status.ok()) return status;
  const absl::StatusOr<std::unique_ptr<Traffic>> traffic = kernel.network->Open();
  if (!traffic.ok()) return traffic.status();
  const absl::StatusOr<NetDevice> device = (*traffic)->Device(spec.device);
  if (!device.ok()) return device.status();
  absl::StatusOr<std::unique_ptr<ClassLever>> lever =
      ClassLever::Create(kernel, **traffic, *device, leaf, spec.shape);
  if (!lever.ok()) return lever.status();

  ProgramSpec program;
  program.name = "steer";
  program.filters = *filters;
  program.rule.ifindex = static_cast<std::uint32_t>(device->index);
  program.rule.priority = (*lever)->handle();
  program.rule.deadline_ns = static_cast<std::uint64_t>(spec.deadline_ns + leaf.LateNs());
  SetShape(ShapeOfProgram(spec, leaf), spec.start_ns, &program.rule);
  // One class per packet: two faults that steer fight, whatever they do.
  program.hook = {Hook::Kind::kCgroupEgress, spec.cgroup, absl::StrCat(kSteeringOn, spec.device),
                  spec.device};
  absl::StatusOr<std::unique_ptr<LinkLever>> link =
      LinkLever::Create(kernel, program, LinkLever::Dosage::kSteering, leaf.SteeredPastNs());
  if (!link.ok()) return link.status();
  Levers levers;
  levers.push_back(*std::move(lever));
  levers.push_back(*std::move(link));
  return levers;
}

}  // namespace

absl::StatusOr<Levers> MakeRate(const NetKernel& kernel, const RateSpec& spec) {
  constexpr std::int64_t kLeastBits = 8'000;
  ClassLeaf leaf;
  leaf.bytes_per_second =
      static_cast<std::uint64_t>(std::max(spec.bits_per_second, kLeastBits)) / 8;
  return MakeSteering(kernel, spec, leaf);
}

absl::StatusOr<Levers> MakeDelay(const NetKernel& kernel, const DelaySpec& spec) {
  const absl::StatusOr<std::unique_ptr<Traffic>> traffic = kernel.network->Open();
  if (!traffic.ok()) return traffic.status();
  if (absl::Status has = (*traffic)->Probe(ProbedKind::kNetem); !has.ok()) return has;
  ClassLeaf leaf;
  leaf.delay_ns = spec.delay_ns;
  leaf.jitter_ns = spec.jitter_ns;
  if (spec.jitter_ns >= spec.delay_ns) {
    return absl::InvalidArgumentError(
        absl::StrCat("jitter is ", absl::FormatDuration(absl::Nanoseconds(spec.jitter_ns)),
                     "; it must be less than the delay, ",
                     absl::FormatDuration(absl::Nanoseconds(spec.delay_ns)),
                     ": a packet cannot leave before it came"));
  }
  if (spec.shape.pulse() && spec.shape.off_ns <= leaf.SteeredPastNs()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the time between pulses is ", absl::FormatDuration(absl::Nanoseconds(spec.shape.off_ns)),
        ", and what a pulse holds back takes ",
        absl::FormatDuration(absl::Nanoseconds(leaf.SteeredPastNs())),
        " to get through; give a longer time between pulses or a shorter delay"));
  }
  return MakeSteering(kernel, spec, leaf);
}

absl::Status ProbeSteering(const NetKernel& kernel, bool delays,
                           const std::vector<PlaneDevice>& plane_devices) {
  const absl::StatusOr<std::unique_ptr<Traffic>> traffic = kernel.network->Open();
  if (!traffic.ok()) return traffic.status();
  // What the kernel lacks before what can be set up. bfifo, the queue of a rate, is a part of every
  // kernel with queueing disciplines.
  absl::Status status = (*traffic)->Probe(ProbedKind::kHtb);
  if (status.ok() && delays) status = (*traffic)->Probe(ProbedKind::kNetem);
  if (status.ok()) status = kernel.programs->Check("steer");
  return status.ok() ? CheckAnyPlane(**traffic, plane_devices) : status;
}

}  // namespace faultline
