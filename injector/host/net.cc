// SPDX-License-Identifier: Apache-2.0
#include "injector/host/net.h"

#include <bpf/bpf.h>
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <initializer_list>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/bpf_object.h"
#include "base/cgroup_tree.h"
#include "base/status.h"
#include "bpf/fault.h"
#include "bpf/fault_loss.skel.h"
#include "bpf/fault_steer.skel.h"
#include "injector/host/link.h"
#include "injector/host/net_levers.h"
#include "injector/host/net_rule.h"
#include "injector/host/netlink.h"
#include "injector/host/plane.h"

namespace faultline {
namespace {

using Levers = std::vector<std::unique_ptr<Lever>>;

// The object with one program in the kernel and `rule` in its settings.
template <typename Skeleton>
absl::StatusOr<std::unique_ptr<BpfObject>> Load(const std::string& name, const std::string& program,
                                                const fault_rule& rule) {
  absl::StatusOr<std::unique_ptr<BpfObject>> object =
      BpfObject::Open(name, SkeletonBytes<Skeleton>());
  if (!object.ok()) return object;
  bpf_program* each = nullptr;
  bpf_object__for_each_program(each, (*object)->get()) {
    bpf_program__set_autoload(each, program == bpf_program__name(each));
  }
  absl::Status status = (*object)->SetGlobal("rule", rule);
  if (status.ok()) status = (*object)->Load();
  if (!status.ok()) return status;
  return object;
}

// A packet that crosses into another network namespace has lost its socket and its priority, so
// outbound faults meet only processes of this namespace.
absl::Status CheckNamespace(int cgroup_fd, const std::string& cgroup) {
  struct stat ours {};
  if (stat("/proc/thread-self/ns/net", &ours) != 0) return absl::OkStatus();
  std::ifstream members(absl::StrCat("/proc/self/fd/", cgroup_fd, "/cgroup.procs"));
  bool elsewhere = false;
  for (pid_t pid = 0; members >> pid;) {
    struct stat theirs {};
    if (stat(absl::StrCat("/proc/", pid, "/ns/net").c_str(), &theirs) != 0) continue;
    if (theirs.st_ino == ours.st_ino) return absl::OkStatus();
    elsewhere = true;
  }
  if (!elsewhere) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("every process of ", cgroup,
                   " is in a network namespace of its own, where the injector's "
                   "devices are not; inbound loss works there, outbound faults do not"));
}

// Devices that the request names, or each that is up and is no loopback: of stacked ones (bridge
// and port, VLAN and parent) only one, so that a packet is drawn for once.
absl::StatusOr<std::vector<NetDevice>> ChooseDevices(Netlink& netlink, const LossSpec& spec) {
  std::vector<NetDevice> chosen;
  if (spec.devices.empty()) {
    absl::StatusOr<std::vector<NetDevice>> all = netlink.Devices();
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
    absl::StatusOr<NetDevice> device = netlink.Device(name);
    if (!device.ok()) return device.status();
    chosen.push_back(*std::move(device));
  }
  return chosen;
}

absl::StatusOr<fault_rule> LossRule(const LossSpec& spec) {
  constexpr std::uint32_t kAll = 1'000'000;
  if (!spec.inbound && !spec.outbound) {
    return absl::InvalidArgumentError("a loss needs a direction: in, out or both");
  }
  if (spec.loss_ppm > kAll) return absl::InvalidArgumentError("loss is at most 100 %");
  absl::StatusOr<fault_rule> rule =
      MakeRule(absl::MakeConstSpan(spec.peers.data(), spec.peers.size()));
  if (!rule.ok()) return rule;
  rule->loss_ppm = spec.loss_ppm;
  rule->deadline_ns = static_cast<std::uint64_t>(spec.deadline_ns);
  return rule;
}

absl::Status AddInbound(const LossSpec& spec, fault_rule rule, Levers* levers) {
  rule.seed = StreamSeed(spec.seed, 0);
  absl::StatusOr<std::unique_ptr<BpfObject>> object =
      Load<fault_loss_bpf>("fault_loss", "loss_in", rule);
  if (!object.ok()) return object.status();
  absl::StatusOr<std::unique_ptr<LinkLever>> lever =
      LinkLever::Create({Hook::Kind::kCgroupIngress, spec.cgroup, "loss", ""}, *std::move(object),
                        "loss_in", LinkLever::Dosage::kLoss, spec.bpffs);
  if (!lever.ok()) return lever.status();
  levers->push_back(*std::move(lever));
  return absl::OkStatus();
}

absl::Status AddTcx(const LossSpec& spec, const fault_rule& rule, int cgroup_fd,
                    const NetDevice& device, Levers* levers) {
  absl::StatusOr<std::unique_ptr<BpfObject>> object =
      Load<fault_loss_bpf>("fault_loss", "loss_out", rule);
  if (!object.ok()) return object.status();
  absl::StatusOr<bpf_map*> target = (*object)->Map("fault_cgroup");
  if (!target.ok()) return target.status();
  const std::uint32_t key = 0;
  const int result = bpf_map_update_elem(bpf_map__fd(*target), &key, &cgroup_fd, BPF_ANY);
  if (result != 0) return BpfStatus(result, absl::StrCat("name ", spec.cgroup, " to the program"));
  absl::StatusOr<std::unique_ptr<LinkLever>> lever = LinkLever::Create(
      {Hook::Kind::kTcxEgress, device.name, absl::StrCat("loss of ", spec.cgroup), device.name},
      *std::move(object), "loss_out", LinkLever::Dosage::kLoss, spec.bpffs);
  if (!lever.ok()) return lever.status();
  levers->push_back(*std::move(lever));
  return absl::OkStatus();
}

absl::Status AddMark(const LossSpec& spec, fault_rule rule, const NetDevice& device,
                     Levers* levers) {
  rule.ifindex = static_cast<std::uint32_t>(device.index);
  absl::StatusOr<std::unique_ptr<BpfObject>> object =
      Load<fault_loss_bpf>("fault_loss", "loss_mark", rule);
  if (!object.ok()) return object.status();
  absl::StatusOr<std::unique_ptr<LinkLever>> lever = LinkLever::Create(
      {Hook::Kind::kCgroupEgress, spec.cgroup, absl::StrCat("loss on ", device.name), device.name},
      *std::move(object), "loss_mark", LinkLever::Dosage::kLoss, spec.bpffs);
  if (!lever.ok()) return lever.status();
  levers->push_back(*std::move(lever));
  return absl::OkStatus();
}

// kTcx or kPlane, with the reason where neither can be.
absl::StatusOr<OutboundWay> ChooseWay(OutboundWay way, Netlink& netlink,
                                      const std::vector<NetDevice>& devices) {
  absl::Status tcx = absl::OkStatus();
  if (way != OutboundWay::kPlane) {
    tcx = HoldTcx();
    if (tcx.ok()) return OutboundWay::kTcx;
    if (way == OutboundWay::kTcx || !absl::IsUnimplemented(tcx)) return tcx;
  }
  for (const NetDevice& device : devices) {
    if (absl::Status status = CheckSink(netlink, device); !status.ok()) {
      return tcx.ok() ? status : WithContext(status, tcx.message());
    }
  }
  return OutboundWay::kPlane;
}

absl::Status AddOutbound(OutboundWay way, const LossSpec& spec, fault_rule rule, int cgroup_fd,
                         Levers* levers) {
  if (absl::Status status = CheckNamespace(cgroup_fd, spec.cgroup); !status.ok()) return status;
  absl::StatusOr<std::unique_ptr<Netlink>> netlink = Netlink::Open();
  if (!netlink.ok()) return netlink.status();
  absl::StatusOr<std::vector<NetDevice>> devices = ChooseDevices(**netlink, spec);
  if (!devices.ok()) return devices.status();
  absl::StatusOr<OutboundWay> chosen = ChooseWay(way, **netlink, *devices);
  if (!chosen.ok()) return chosen.status();
  std::uint32_t stream = 1;
  for (const NetDevice& device : *devices) {
    rule.seed = StreamSeed(spec.seed, stream++);
    absl::Status status = *chosen == OutboundWay::kTcx
                              ? AddTcx(spec, rule, cgroup_fd, device, levers)
                              : AddMark(spec, rule, device, levers);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

// An unprivileged-looking failure of a program load is told as what it is: this host cannot.
absl::Status ProbeProgram(const std::string& program) {
  absl::StatusOr<CgroupTree> tree = CgroupTree::Read();
  if (!tree.ok()) return tree.status();
  if (tree->V2() == nullptr) {
    return absl::UnimplementedError(
        "sockets belong to cgroup v2 groups, and no v2 hierarchy is mounted on this host");
  }
  if (program == "steer_rate") {
    return Load<fault_steer_bpf>("fault_steer", program, fault_rule{}).status();
  }
  return Load<fault_loss_bpf>("fault_loss", program, fault_rule{}).status();
}

absl::Status ProbeOutbound() {
  absl::Status tcx = HoldTcx();
  if (tcx.ok()) return ProbeProgram("loss_out");
  if (!absl::IsUnimplemented(tcx)) return tcx;
  absl::StatusOr<std::unique_ptr<Netlink>> netlink = Netlink::Open();
  if (!netlink.ok()) return netlink.status();
  absl::StatusOr<std::vector<NetDevice>> devices = (*netlink)->Devices();
  if (!devices.ok()) return devices.status();
  for (const NetDevice& device : *devices) {
    if (CheckSink(**netlink, device).ok()) return ProbeProgram("loss_mark");
  }
  return absl::UnimplementedError(absl::StrCat(
      tcx.message(), ", and no device has a standing plane, the other way to lose packets"));
}

// FailedPrecondition with what to do: no device has a plane.
absl::Status CheckAnyPlane(Netlink& netlink, const std::vector<std::string>& wanted) {
  absl::StatusOr<std::vector<NetDevice>> devices = netlink.Devices();
  if (!devices.ok()) return devices.status();
  std::vector<std::string> names;
  for (const NetDevice& device : *devices) {
    if (CheckPlane(netlink, device).ok()) return absl::OkStatus();
    if (device.up && !device.loopback) names.push_back(device.name);
  }
  std::vector<std::string> reasons;
  for (const std::string& name : wanted) {
    const absl::Status can = LookAtPlane(netlink, name).can;
    reasons.emplace_back(
        can.ok() ? absl::StrCat("the log of faultline-injector says why ", name, " did not get one")
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

absl::Status ProbeRate(const std::vector<std::string>& plane_devices) {
  absl::StatusOr<std::unique_ptr<Netlink>> netlink = Netlink::Open();
  if (!netlink.ok()) return netlink.status();
  // bfifo, the queue of a class, is a part of every kernel with queueing disciplines.
  if (absl::Status status = (*netlink)->ProbeHtb(); !status.ok()) return status;
  // What the kernel lacks before what can be set up.
  if (absl::Status status = ProbeProgram("steer_rate"); !status.ok()) return status;
  return CheckAnyPlane(**netlink, plane_devices);
}

}  // namespace

absl::StatusOr<Levers> MakeLossBy(OutboundWay way, const LossSpec& spec) {
  absl::StatusOr<fault_rule> rule = LossRule(spec);
  if (!rule.ok()) return rule.status();
  absl::StatusOr<int> cgroup = OpenCgroup(spec.cgroup);
  if (!cgroup.ok()) return cgroup.status();
  const absl::Cleanup close_cgroup = [fd = *cgroup] { close(fd); };
  Levers levers;
  absl::Status status = spec.inbound ? AddInbound(spec, *rule, &levers) : absl::OkStatus();
  if (status.ok() && spec.outbound) status = AddOutbound(way, spec, *rule, *cgroup, &levers);
  if (!status.ok()) return status;
  return levers;
}

absl::StatusOr<Levers> MakeLoss(const LossSpec& spec) {
  return MakeLossBy(OutboundWay::kBest, spec);
}

absl::StatusOr<Levers> MakeRate(const RateSpec& spec) {
  absl::StatusOr<fault_rule> rule =
      MakeRule(absl::MakeConstSpan(spec.peers.data(), spec.peers.size()));
  if (!rule.ok()) return rule.status();
  absl::StatusOr<int> cgroup = OpenCgroup(spec.cgroup);
  if (!cgroup.ok()) return cgroup.status();
  const absl::Cleanup close_cgroup = [fd = *cgroup] { close(fd); };
  if (absl::Status status = CheckNamespace(*cgroup, spec.cgroup); !status.ok()) return status;
  absl::StatusOr<std::unique_ptr<Netlink>> netlink = Netlink::Open();
  if (!netlink.ok()) return netlink.status();
  absl::StatusOr<NetDevice> device = (*netlink)->Device(spec.device);
  if (!device.ok()) return device.status();
  absl::StatusOr<std::unique_ptr<RateClassLever>> rate_class =
      RateClassLever::Create(**netlink, *device, spec.bits_per_second);
  if (!rate_class.ok()) return rate_class.status();

  rule->ifindex = static_cast<std::uint32_t>(device->index);
  rule->priority = (*rate_class)->handle();
  rule->deadline_ns = static_cast<std::uint64_t>(spec.deadline_ns);
  absl::StatusOr<std::unique_ptr<BpfObject>> object =
      Load<fault_steer_bpf>("fault_steer", "steer_rate", *rule);
  if (!object.ok()) return object.status();
  absl::StatusOr<std::unique_ptr<LinkLever>> link = LinkLever::Create(
      {Hook::Kind::kCgroupEgress, spec.cgroup, absl::StrCat("rate on ", spec.device), spec.device},
      *std::move(object), "steer_rate", LinkLever::Dosage::kSteering, spec.bpffs);
  if (!link.ok()) return link.status();
  Levers levers;
  levers.push_back(*std::move(rate_class));
  levers.push_back(*std::move(link));
  return levers;
}

LeverOr RecoverNet(const v1::Change& change) {
  if (change.kind() == "link") return LinkLever::Recover(change);
  if (change.kind() == "net_class") return RateClassLever::Recover(change);
  if (change.kind() == "net_plane") return RecoverPlane(change);
  // All that a person has to know who undoes it.
  return absl::InvalidArgumentError(
      absl::StrCat("this version does not know the lever \"", change.kind(), "\", which set ",
                   change.attribute(), " of ", change.object(), " from \"", change.before(),
                   "\" to \"", change.after(), "\""));
}

absl::Status ProbeNet(absl::string_view kind, const std::vector<std::string>& plane_devices) {
  if (kind == "loss") return ProbeProgram("loss_in");
  if (kind == "loss.outbound") return ProbeOutbound();
  if (kind == "rate") return ProbeRate(plane_devices);
  return absl::InvalidArgumentError(absl::StrCat("\"", kind, "\" is no lever of the network's"));
}

}  // namespace faultline
