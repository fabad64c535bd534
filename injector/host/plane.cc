// SPDX-License-Identifier: Apache-2.0
#include "injector/host/plane.h"

#include <linux/pkt_sched.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "bpf/fault.h"
#include "injector/host/net.h"

namespace faultline {
namespace {

bool IsPlane(const Qdisc& root) { return root.kind == "htb" && root.handle == FAULT_PLANE_HANDLE; }

// What packets wait in below `root`: it alone, or of mq one for each queue.
absl::StatusOr<std::vector<Qdisc>> QueuesOf(Traffic& traffic, int ifindex, const Qdisc& root) {
  if (root.kind != "mq") return std::vector<Qdisc>{root};
  return traffic.Below(ifindex, root.handle);
}

std::string Describe(const Qdisc& root, const std::vector<Qdisc>& queues) {
  if (root.kind != "mq") return root.kind;
  return absl::StrCat("mq of ", queues.size(), " ", queues.empty() ? "" : queues.front().kind);
}

// A default may have changed since the device came up, and then another would come back.
absl::Status CheckComesBack(Traffic& traffic, const NetDevice& device, const Qdisc& root) {
  const absl::StatusOr<std::string> kind = traffic.DefaultKind();
  if (absl::IsNotFound(kind.status())) return absl::OkStatus();
  if (!kind.ok()) return kind.status();
  const absl::StatusOr<std::vector<Qdisc>> queues = QueuesOf(traffic, device.index, root);
  if (!queues.ok()) return queues.status();
  for (const Qdisc& queue : *queues) {
    if (queue.kind == *kind) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        "device ", device.name, " has ", queue.kind, " of the kernel's, whose default is ", *kind,
        " by now (net.core.default_qdisc): without the plane that would come, not what was there; "
        "`tc qdisc replace dev ",
        device.name, " root pfifo && tc qdisc del dev ", device.name,
        " root` gives it today's, or set the default back"));
  }
  return absl::OkStatus();
}

// The kernel's own default roots have handle 0 and come back by themselves when ours is deleted, so
// putting back what was there is exact. What is below its mq has no handle either, so nobody can
// have changed it.
absl::Status CheckReplaceable(Traffic& traffic, const NetDevice& device, const Qdisc& root,
                              bool merges_queues) {
  // Which default it will get, and whether one for several queues, shows when it is up.
  if (device.root_kind == "noop") {
    return absl::FailedPreconditionError(
        absl::StrCat("device ", device.name, " was never up: bring it up first"));
  }
  const bool known = root.kind == "noqueue" || root.kind == "pfifo_fast" ||
                     root.kind == "fq_codel" || root.kind == "fq" || root.kind == "mq";
  if (!known || root.handle != 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        "device ", device.name, " has a root qdisc of somebody's own (", root.kind, " ",
        ClassName(root.handle), "), which is left alone; delete it to get the kernel's default"));
  }
  if (root.kind == "noqueue") return absl::OkStatus();
  if (root.kind == "mq" && !merges_queues) {
    return absl::FailedPreconditionError(
        absl::StrCat("device ", device.name,
                     " has several queues (mq), and with a plane all it sends passes one in front "
                     "of them, which costs many CPUs or a fast device throughput; start "
                     "faultline-injector with --plane-mq-device ",
                     device.name, " if it may"));
  }
  return CheckComesBack(traffic, device, root);
}

// An inner class whose filter drops: htb reports such packets as sent (htb_classify leaves
// NET_XMIT_SUCCESS on TC_ACT_SHOT), so neither TCP nor sendto learns of it.
absl::Status AddSink(const NetKernel& kernel, Traffic& traffic, int ifindex) {
  absl::Status status =
      traffic.SetClass(ifindex, FAULT_PLANE_HANDLE, FAULT_SINK_CLASS, kUnlimitedRate, false);
  if (!status.ok()) return status;
  status = traffic.SetClass(ifindex, FAULT_SINK_CLASS, FAULT_SINK_CHILD, kUnlimitedRate, false);
  if (!status.ok()) return status;
  return kernel.programs->AddSink(traffic, ifindex, FAULT_SINK_CLASS);
}

// A fair-queueing root lives on as the leaf of a class; a plain fifo is what htb's own direct queue
// is, without tokens to count.
absl::Status FillPlane(const NetKernel& kernel, Traffic& traffic, const NetDevice& device,
                       const std::string& leaf) {
  if (!leaf.empty()) {
    absl::Status status = traffic.SetClass(device.index, FAULT_PLANE_HANDLE, FAULT_DEFAULT_CLASS,
                                           kUnlimitedRate, false);
    if (status.ok()) status = traffic.AddLeaf(device.index, FAULT_DEFAULT_CLASS, leaf, 0);
    if (!status.ok()) return status;
  }
  // Only outbound loss on kernels without tcx needs the sink, so a kernel without cls_bpf still has
  // rates; CheckSink then says what is missing.
  if (absl::Status status = AddSink(kernel, traffic, device.index); !status.ok()) {
    LogWarning("plane on ", device.name, " has no loss: ", status.message());
  }
  // A kernel that has no tcx has the sink instead.
  const absl::Status held = kernel.programs->HoldTcx(device.name);
  if (!held.ok() && !absl::IsUnimplemented(held)) {
    LogWarning("outbound loss on ", device.name, " begins late: ", held.message());
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
  PlaneLever(const NetKernel& kernel, v1::Change change)
      : kernel_(kernel), change_(std::move(change)) {}
  const v1::Change& change() const override { return change_; }
  absl::Status Apply() override {
    return absl::FailedPreconditionError("a recovered plane cannot be applied");
  }
  absl::Status Verify() override {
    const absl::Status gone = Residue();
    return gone.ok() ? absl::AbortedError(absl::StrCat(change_.object(), " has no plane"))
                     : absl::OkStatus();
  }
  absl::Status Restore() override {
    const absl::Status removed = RemovePlane(kernel_, change_.object());
    if (removed.ok()) TellOfAnother();
    return removed;
  }
  absl::Status Residue() override {
    absl::StatusOr<std::unique_ptr<Traffic>> traffic = kernel_.network->Open();
    if (!traffic.ok()) return traffic.status();
    absl::StatusOr<NetDevice> device = (*traffic)->Device(change_.object());
    if (absl::IsNotFound(device.status())) return absl::OkStatus();
    if (!device.ok()) return device.status();
    absl::StatusOr<Qdisc> root = (*traffic)->Root(device->index);
    if (!root.ok()) return root.status();
    if (!IsPlane(*root)) return absl::OkStatus();
    return absl::InternalError(absl::StrCat("the plane still stands on ", change_.object()));
  }

 private:
  // The kernel puts today's default in the plane's place, which may be another than it was.
  void TellOfAnother() const {
    if (change_.before().empty()) return;
    absl::StatusOr<std::unique_ptr<Traffic>> traffic = kernel_.network->Open();
    if (!traffic.ok()) return;
    const absl::StatusOr<NetDevice> device = (*traffic)->Device(change_.object());
    if (!device.ok()) return;
    const absl::StatusOr<Qdisc> root = (*traffic)->Root(device->index);
    if (!root.ok() || root->handle != 0) return;
    const absl::StatusOr<std::vector<Qdisc>> queues = QueuesOf(**traffic, device->index, *root);
    if (!queues.ok()) return;
    const std::string now = Describe(*root, *queues);
    if (now == change_.before()) return;
    LogWarning(device->name, " has ", now, " without its plane and had ", change_.before(),
               " before: the kernel's default (net.core.default_qdisc) was changed meanwhile");
  }

  const NetKernel kernel_;
  const v1::Change change_;
};

}  // namespace

absl::StatusOr<v1::Change> SetUpPlane(const NetKernel& kernel, const PlaneDevice& wanted) {
  absl::StatusOr<std::unique_ptr<Traffic>> traffic = kernel.network->Open();
  if (!traffic.ok()) return traffic.status();
  absl::StatusOr<NetDevice> device = (*traffic)->Device(wanted.name);
  if (!device.ok()) return device.status();
  absl::StatusOr<Qdisc> root = (*traffic)->Root(device->index);
  if (!root.ok()) return root.status();
  if (IsPlane(*root)) {
    // Of an earlier process, perhaps one that was killed half way. Its default leaf, if it has one,
    // is kept.
    absl::Status status = FillPlane(kernel, **traffic, *device, "");
    if (!status.ok()) return status;
    return PlaneChange(wanted.name, PlaneChange(wanted.name, "").after());
  }
  if (absl::Status can = CheckReplaceable(**traffic, *device, *root, wanted.merges_queues);
      !can.ok()) {
    return can;
  }
  const absl::StatusOr<std::vector<Qdisc>> queues = QueuesOf(**traffic, device->index, *root);
  if (!queues.ok()) return queues.status();
  const std::string kind = queues->empty() ? "" : queues->front().kind;
  const bool fair = kind == "fq_codel" || kind == "fq";
  // Until the default class stands, htb sends what has no class directly.
  absl::Status status = (*traffic)->AddHtbRoot(*device, FAULT_PLANE_HANDLE,
                                               fair ? FAULT_DEFAULT_CLASS : FAULT_PLANE_HANDLE);
  if (status.ok()) status = FillPlane(kernel, **traffic, *device, fair ? kind : "");
  if (!status.ok()) {
    (void)RemovePlane(kernel, wanted.name);
    return status;
  }
  if (root->kind == "mq") {
    LogInfo(wanted.name, ": all it sends passes one queue in front of its ", queues->size(),
            " as long as its plane stands");
  }
  return PlaneChange(wanted.name, Describe(*root, *queues));
}

absl::Status RemovePlane(const NetKernel& kernel, const std::string& device_name) {
  absl::StatusOr<std::unique_ptr<Traffic>> traffic = kernel.network->Open();
  if (!traffic.ok()) return traffic.status();
  absl::StatusOr<NetDevice> device = (*traffic)->Device(device_name);
  if (absl::IsNotFound(device.status())) return absl::OkStatus();
  if (!device.ok()) return device.status();
  absl::StatusOr<Qdisc> root = (*traffic)->Root(device->index);
  if (!root.ok()) return root.status();
  if (!IsPlane(*root)) return absl::OkStatus();
  return (*traffic)->DeleteRoot(device->index, FAULT_PLANE_HANDLE);
}

PlaneSite LookAtPlane(Traffic& traffic, const PlaneDevice& wanted) {
  PlaneSite site;
  const absl::StatusOr<NetDevice> device = traffic.Device(wanted.name);
  if (!device.ok()) {
    site.can = device.status();
    return site;
  }
  site.ifindex = device->index;
  const absl::StatusOr<Qdisc> root = traffic.Root(device->index);
  site.stands = root.ok() && IsPlane(*root);
  if (site.stands) return site;
  site.can =
      root.ok() ? CheckReplaceable(traffic, *device, *root, wanted.merges_queues) : root.status();
  return site;
}

absl::Status CheckPlane(Traffic& traffic, const NetDevice& device) {
  absl::StatusOr<Qdisc> root = traffic.Root(device.index);
  if (!root.ok()) return root.status();
  if (IsPlane(*root)) return absl::OkStatus();
  // What would keep it from one even if its owner allowed all.
  absl::Status replaceable = CheckReplaceable(traffic, device, *root, true);
  if (replaceable.ok()) replaceable = CheckReplaceable(traffic, device, *root, false);
  return absl::FailedPreconditionError(absl::StrCat(
      "device ", device.name, " has no standing plane: ",
      replaceable.ok()
          ? absl::StrCat("restart faultline-injector with --plane-device ", device.name)
          : std::string(replaceable.message())));
}

absl::Status CheckSink(Traffic& traffic, const NetDevice& device) {
  if (absl::Status status = CheckPlane(traffic, device); !status.ok()) return status;
  absl::StatusOr<HtbClass> sink = traffic.Class(device.index, FAULT_SINK_CHILD);
  if (absl::IsNotFound(sink.status())) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the plane on ", device.name, " has no sink class; this kernel may lack cls_bpf"));
  }
  return sink.status();
}

LeverOr RecoverPlane(const NetKernel& kernel, const v1::Change& change) {
  return std::make_unique<PlaneLever>(kernel, change);
}

}  // namespace faultline
