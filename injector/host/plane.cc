// SPDX-License-Identifier: Apache-2.0
#include "injector/host/plane.h"

#include <linux/pkt_sched.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/bpf_object.h"
#include "base/log.h"
#include "bpf/fault.h"
#include "bpf/fault_steer.skel.h"
#include "injector/host/net.h"

namespace faultline {
namespace {

bool IsPlane(const Qdisc& root) { return root.kind == "htb" && root.handle == FAULT_PLANE_HANDLE; }

// The kernel's own default roots have handle 0 and come back by themselves when ours is deleted, so
// putting back what was there is exact.
absl::Status CheckReplaceable(const NetDevice& device, const Qdisc& root) {
  // Which default it will get, and whether one for several queues, shows when it is up.
  if (device.root_kind == "noop") {
    return absl::FailedPreconditionError(
        absl::StrCat("device ", device.name, " was never up: bring it up first"));
  }
  const bool known = root.kind == "noqueue" || root.kind == "pfifo_fast" ||
                     root.kind == "fq_codel" || root.kind == "fq";
  if (known && root.handle == 0) return absl::OkStatus();
  if (root.kind == "mq") {
    return absl::FailedPreconditionError(
        absl::StrCat("device ", device.name,
                     " has several queues (mq); the plane stands only on devices of one"));
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "device ", device.name, " has a root qdisc of somebody's own (", root.kind, " ",
      ClassName(root.handle), "), which is left alone; delete it to get the kernel's default"));
}

absl::StatusOr<std::unique_ptr<BpfObject>> LoadSink() {
  absl::StatusOr<std::unique_ptr<BpfObject>> object =
      BpfObject::Open("fault_steer", SkeletonBytes<fault_steer_bpf>());
  if (!object.ok()) return object;
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, (*object)->get()) {
    bpf_program__set_autoload(program, std::strcmp(bpf_program__name(program), "plane_sink") == 0);
  }
  if (absl::Status status = (*object)->Load(); !status.ok()) return status;
  return object;
}

// An inner class whose filter drops: htb reports such packets as sent (htb_classify leaves
// NET_XMIT_SUCCESS on TC_ACT_SHOT), so neither TCP nor sendto learns of it.
absl::Status AddSink(Netlink& netlink, int ifindex) {
  absl::Status status =
      netlink.SetClass(ifindex, FAULT_PLANE_HANDLE, FAULT_SINK_CLASS, kUnlimitedRate, false);
  if (!status.ok()) return status;
  status = netlink.SetClass(ifindex, FAULT_SINK_CLASS, FAULT_SINK_CHILD, kUnlimitedRate, false);
  if (!status.ok()) return status;
  absl::StatusOr<std::unique_ptr<BpfObject>> object = LoadSink();
  if (!object.ok()) return object.status();
  absl::StatusOr<bpf_program*> sink = (*object)->Program("plane_sink");
  if (!sink.ok()) return sink.status();
  return netlink.AddBpfFilter(ifindex, FAULT_SINK_CLASS, bpf_program__fd(*sink), "faultline_sink");
}

// A fair-queueing root lives on as the leaf of a class; a plain fifo is what htb's own direct queue
// is, without tokens to count.
absl::Status FillPlane(Netlink& netlink, const NetDevice& device, const std::string& leaf) {
  if (!leaf.empty()) {
    absl::Status status = netlink.SetClass(device.index, FAULT_PLANE_HANDLE, FAULT_DEFAULT_CLASS,
                                           kUnlimitedRate, false);
    if (status.ok()) status = netlink.AddLeaf(device.index, FAULT_DEFAULT_CLASS, leaf, 0);
    if (!status.ok()) return status;
  }
  // Only outbound loss on kernels without tcx needs the sink, so a kernel without cls_bpf still has
  // rates; CheckSink then says what is missing.
  if (absl::Status status = AddSink(netlink, device.index); !status.ok()) {
    LogWarning("plane on ", device.name, " has no loss: ", status.message());
  }
  return absl::OkStatus();
}

v1::Change PlaneChange(const std::string& device, const std::string& before) {
  v1::Change change;
  change.set_kind("net_plane");
  change.set_object(device);
  change.set_attribute("root");
  change.set_before(before);
  change.set_after(absl::StrCat("htb ", ClassName(FAULT_PLANE_HANDLE)));
  return change;
}

class PlaneLever : public Lever {
 public:
  explicit PlaneLever(v1::Change change) : change_(std::move(change)) {}
  const v1::Change& change() const override { return change_; }
  absl::Status Apply() override {
    return absl::FailedPreconditionError("a recovered plane cannot be applied");
  }
  absl::Status Verify() override {
    const absl::Status gone = Residue();
    return gone.ok() ? absl::AbortedError(absl::StrCat(change_.object(), " has no plane"))
                     : absl::OkStatus();
  }
  absl::Status Restore() override { return RemovePlane(change_.object()); }
  absl::Status Residue() override {
    absl::StatusOr<std::unique_ptr<Netlink>> netlink = Netlink::Open();
    if (!netlink.ok()) return netlink.status();
    absl::StatusOr<NetDevice> device = (*netlink)->Device(change_.object());
    if (absl::IsNotFound(device.status())) return absl::OkStatus();
    if (!device.ok()) return device.status();
    absl::StatusOr<Qdisc> root = (*netlink)->Root(device->index);
    if (!root.ok()) return root.status();
    if (!IsPlane(*root)) return absl::OkStatus();
    return absl::InternalError(absl::StrCat("the plane still stands on ", change_.object()));
  }

 private:
  const v1::Change change_;
};

}  // namespace

absl::StatusOr<v1::Change> SetUpPlane(const std::string& device_name) {
  absl::StatusOr<std::unique_ptr<Netlink>> netlink = Netlink::Open();
  if (!netlink.ok()) return netlink.status();
  absl::StatusOr<NetDevice> device = (*netlink)->Device(device_name);
  if (!device.ok()) return device.status();
  absl::StatusOr<Qdisc> root = (*netlink)->Root(device->index);
  if (!root.ok()) return root.status();
  if (IsPlane(*root)) {
    // Of an earlier process, perhaps one that was killed half way. Its default leaf, if it has one,
    // is kept.
    absl::Status status = FillPlane(**netlink, *device, "");
    if (!status.ok()) return status;
    return PlaneChange(device_name, PlaneChange(device_name, "").after());
  }
  if (absl::Status status = CheckReplaceable(*device, *root); !status.ok()) return status;
  const bool fair = root->kind == "fq_codel" || root->kind == "fq";
  // Until the default class stands, htb sends what has no class directly.
  absl::Status status = (*netlink)->AddHtbRoot(*device, FAULT_PLANE_HANDLE,
                                               fair ? FAULT_DEFAULT_CLASS : FAULT_PLANE_HANDLE);
  if (status.ok()) status = FillPlane(**netlink, *device, fair ? root->kind : "");
  if (!status.ok()) {
    (void)RemovePlane(device_name);
    return status;
  }
  return PlaneChange(device_name, root->kind);
}

absl::Status RemovePlane(const std::string& device_name) {
  absl::StatusOr<std::unique_ptr<Netlink>> netlink = Netlink::Open();
  if (!netlink.ok()) return netlink.status();
  absl::StatusOr<NetDevice> device = (*netlink)->Device(device_name);
  if (absl::IsNotFound(device.status())) return absl::OkStatus();
  if (!device.ok()) return device.status();
  absl::StatusOr<Qdisc> root = (*netlink)->Root(device->index);
  if (!root.ok()) return root.status();
  if (!IsPlane(*root)) return absl::OkStatus();
  return (*netlink)->DeleteRoot(device->index, FAULT_PLANE_HANDLE);
}

PlaneSite LookAtPlane(Netlink& netlink, const std::string& device_name) {
  PlaneSite site;
  const absl::StatusOr<NetDevice> device = netlink.Device(device_name);
  if (!device.ok()) {
    site.can = device.status();
    return site;
  }
  site.ifindex = device->index;
  const absl::StatusOr<Qdisc> root = netlink.Root(device->index);
  site.stands = root.ok() && IsPlane(*root);
  if (!site.stands) site.can = root.ok() ? CheckReplaceable(*device, *root) : root.status();
  return site;
}

absl::Status CheckPlane(Netlink& netlink, const NetDevice& device) {
  absl::StatusOr<Qdisc> root = netlink.Root(device.index);
  if (!root.ok()) return root.status();
  if (IsPlane(*root)) return absl::OkStatus();
  const absl::Status replaceable = CheckReplaceable(device, *root);
  return absl::FailedPreconditionError(absl::StrCat(
      "device ", device.name, " has no standing plane: ",
      replaceable.ok()
          ? absl::StrCat("restart faultline-injector with --plane-device ", device.name)
          : std::string(replaceable.message())));
}

absl::Status CheckSink(Netlink& netlink, const NetDevice& device) {
  if (absl::Status status = CheckPlane(netlink, device); !status.ok()) return status;
  absl::StatusOr<HtbClass> sink = netlink.Class(device.index, FAULT_SINK_CHILD);
  if (absl::IsNotFound(sink.status())) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the plane on ", device.name, " has no sink class; this kernel may lack cls_bpf"));
  }
  return sink.status();
}

LeverOr RecoverPlane(const v1::Change& change) { return std::make_unique<PlaneLever>(change); }

}  // namespace faultline
