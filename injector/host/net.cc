// SPDX-License-Identifier: Apache-2.0
#include "injector/host/net.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "bpf/fault.h"
#include "injector/host/link.h"
#include "injector/host/net_levers.h"
#include "injector/host/net_rule.h"
#include "injector/host/plane.h"
#include "injector/host/plane_class.h"
#include "injector/host/traffic.h"

namespace faultline {
namespace {

// There is one in each network namespace.
constexpr char kAnyDevice[] = "lo";

using Levers = std::vector<std::unique_ptr<Lever>>;

// Devices that the request names, or each that is up and is no loopback: of stacked ones (bridge
// and port, VLAN and parent) only one, so that a packet is drawn for once.
absl::StatusOr<std::vector<NetDevice>> ChooseDevices(Traffic& traffic, const LossSpec& spec) {
  std::vector<NetDevice> chosen;
  if (spec.devices.empty()) {
    absl::StatusOr<std::vector<NetDevice>> all = traffic.Devices();
    if (!all.ok()) return all.status();
    for (NetDevice& device : *all) {
      if (device.up && !device.loopback && !device.stacked) chosen.push_back(std::move(device));
    }
    if (chosen.empty()) {
      return absl::FailedPreconditionError("no network device but loopback is up; name one");
    }
    return chosen;
  }
  for (const std::string& name : spec.devices) {
    absl::StatusOr<NetDevice> device = traffic.Device(name);
    if (!device.ok()) return device.status();
    chosen.push_back(*std::move(device));
  }
  return chosen;
}

// What all programs of a loss have in common.
absl::StatusOr<ProgramSpec> LossProgram(const LossSpec& spec) {
  constexpr std::uint32_t kAll = 1'000'000;
  if (!spec.inbound && !spec.outbound) {
    return absl::InvalidArgumentError("a loss needs a direction: in, out or both");
  }
  if (spec.loss_ppm > kAll) return absl::InvalidArgumentError("loss is at most 100 %");
  const absl::StatusOr<fault_filters> filters =
      MakeFilters(absl::MakeConstSpan(spec.peers), absl::MakeConstSpan(spec.exempt));
  if (!filters.ok()) return filters.status();
  ProgramSpec program;
  program.filters = *filters;
  program.rule.loss_ppm = spec.loss_ppm;
  program.rule.deadline_ns = static_cast<std::uint64_t>(spec.deadline_ns);
  SetShape(spec.shape, spec.start_ns, &program.rule);
  return program;
}

absl::Status Add(const NetKernel& kernel, const ProgramSpec& spec, Levers* levers) {
  absl::StatusOr<std::unique_ptr<LinkLever>> lever =
      LinkLever::Create(kernel, spec, LinkLever::Dosage::kLoss);
  if (!lever.ok()) return lever.status();
  levers->push_back(*std::move(lever));
  return absl::OkStatus();
}

absl::Status AddInbound(const NetKernel& kernel, const LossSpec& spec, ProgramSpec program,
                        Levers* levers) {
  program.name = "loss_in";
  program.rule.seed = StreamSeed(spec.seed, 0);
  program.hook = {Hook::Kind::kCgroupIngress, spec.cgroup, "loss", ""};
  return Add(kernel, program, levers);
}

absl::Status AddTcx(const NetKernel& kernel, const LossSpec& spec, ProgramSpec program,
                    const NetDevice& device, Levers* levers) {
  program.name = "loss_out";
  program.hook = {Hook::Kind::kTcxEgress, device.name, absl::StrCat("loss of ", spec.cgroup),
                  device.name};
  program.cgroup = spec.cgroup;
  return Add(kernel, program, levers);
}

absl::Status AddMark(const NetKernel& kernel, const LossSpec& spec, ProgramSpec program,
                     const NetDevice& device, Levers* levers) {
  program.name = "loss_mark";
  program.rule.ifindex = static_cast<std::uint32_t>(device.index);
  program.hook = {Hook::Kind::kCgroupEgress, spec.cgroup, absl::StrCat("loss on ", device.name),
                  device.name};
  return Add(kernel, program, levers);
}

// kTcx or kPlane, with the reason where neither can be.
absl::StatusOr<OutboundWay> ChooseWay(OutboundWay way, Programs& programs, Traffic& traffic,
                                      const std::vector<NetDevice>& devices) {
  absl::Status tcx = absl::OkStatus();
  if (way != OutboundWay::kPlane) {
    tcx = programs.HoldTcx(kAnyDevice);
    if (tcx.ok()) return OutboundWay::kTcx;
    if (way == OutboundWay::kTcx || !absl::IsUnimplemented(tcx)) return tcx;
  }
  for (const NetDevice& device : devices) {
    if (absl::Status status = CheckSink(traffic, device); !status.ok()) {
      return tcx.ok() ? status : WithContext(status, tcx.message());
    }
  }
  return OutboundWay::kPlane;
}

absl::Status AddOutbound(const NetKernel& kernel, OutboundWay way, const LossSpec& spec,
                         ProgramSpec program, Levers* levers) {
  if (absl::Status status = kernel.programs->CheckNamespace(spec.cgroup); !status.ok()) {
    return status;
  }
  const absl::StatusOr<std::unique_ptr<Traffic>> traffic = kernel.network->Open();
  if (!traffic.ok()) return traffic.status();
  const absl::StatusOr<std::vector<NetDevice>> devices = ChooseDevices(**traffic, spec);
  if (!devices.ok()) return devices.status();
  const absl::StatusOr<OutboundWay> chosen = ChooseWay(way, *kernel.programs, **traffic, *devices);
  if (!chosen.ok()) return chosen.status();
  std::uint32_t stream = 1;
  for (const NetDevice& device : *devices) {
    program.rule.seed = StreamSeed(spec.seed, stream++);
    absl::Status status = *chosen == OutboundWay::kTcx
                              ? AddTcx(kernel, spec, program, device, levers)
                              : AddMark(kernel, spec, program, device, levers);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status ProbeOutbound(const NetKernel& kernel) {
  const absl::Status tcx = kernel.programs->HoldTcx(kAnyDevice);
  if (tcx.ok()) return kernel.programs->Check("loss_out");
  if (!absl::IsUnimplemented(tcx)) return tcx;
  const absl::StatusOr<std::unique_ptr<Traffic>> traffic = kernel.network->Open();
  if (!traffic.ok()) return traffic.status();
  const absl::StatusOr<std::vector<NetDevice>> devices = (*traffic)->Devices();
  if (!devices.ok()) return devices.status();
  for (const NetDevice& device : *devices) {
    if (CheckSink(**traffic, device).ok()) return kernel.programs->Check("loss_mark");
  }
  return absl::UnimplementedError(absl::StrCat(
      tcx.message(), ", and no device has a standing plane, the other way to lose packets"));
}

}  // namespace

absl::StatusOr<Levers> MakeLossBy(const NetKernel& kernel, OutboundWay way, const LossSpec& spec) {
  const absl::StatusOr<ProgramSpec> program = LossProgram(spec);
  if (!program.ok()) return program.status();
  absl::Status status = kernel.programs->CheckGroup(spec.cgroup);
  Levers levers;
  if (status.ok() && spec.inbound) status = AddInbound(kernel, spec, *program, &levers);
  if (status.ok() && spec.outbound) status = AddOutbound(kernel, way, spec, *program, &levers);
  if (!status.ok()) return status;
  return levers;
}

absl::StatusOr<Levers> MakeLoss(const NetKernel& kernel, const LossSpec& spec) {
  return MakeLossBy(kernel, OutboundWay::kBest, spec);
}

LeverOr RecoverNet(const NetKernel& kernel, const v1::Change& change) {
  if (change.kind() == "link") return LinkLever::Recover(kernel, change);
  if (change.kind() == "net_class") return ClassLever::Recover(kernel, change);
  if (change.kind() == "net_plane") return RecoverPlane(kernel, change);
  // All that a person has to know who undoes it.
  return absl::InvalidArgumentError(
      absl::StrCat("this version does not know the lever \"", change.kind(), "\", which set ",
                   change.attribute(), " of ", change.object(), " from \"", change.before(),
                   "\" to \"", change.after(), "\""));
}

absl::Status ProbeNet(const NetKernel& kernel, absl::string_view kind,
                      const std::vector<PlaneDevice>& plane_devices) {
  if (kind == "loss") return kernel.programs->Check("loss_in");
  if (kind == "loss.outbound") return ProbeOutbound(kernel);
  if (kind == "rate") return ProbeSteering(kernel, false, plane_devices);
  if (kind == "delay") return ProbeSteering(kernel, true, plane_devices);
  return absl::InvalidArgumentError(absl::StrCat("\"", kind, "\" is no lever of the network's"));
}

}  // namespace faultline
