// SPDX-License-Identifier: Apache-2.0
#include "injector/host/plane_class.h"

#include <linux/pkt_sched.h>

#include <algorithm>
#include <atomic>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/log.h"
#include "bpf/fault.h"
#include "injector/host/dose.h"
#include "injector/host/plane.h"

namespace faultline {
namespace {

// How long a queue may drain: a device that sends nothing any more must not keep a fault from being
// undone.
constexpr std::int64_t kPatienceNs = 2 * kNsPerSecond;
// Between two looks at a queue that drains.
constexpr std::int64_t kLookNs = 5 * kNsPerMs;

absl::StatusOr<std::uint32_t> FreeClass(Traffic& traffic, const NetDevice& device) {
  absl::StatusOr<std::vector<HtbClass>> classes = traffic.Classes(device.index);
  if (!classes.ok()) return classes.status();
  // Goes round, so that two faults that are planned before either is applied get two classes,
  // whichever threads plan them.
  static std::atomic<std::uint32_t> planned = 0;
  constexpr std::uint32_t kClasses = FAULT_LAST_CLASS - FAULT_FIRST_CLASS + 1;
  for (std::uint32_t tried = 0; tried < kClasses; ++tried) {
    const std::uint32_t handle = FAULT_FIRST_CLASS + planned++ % kClasses;
    const bool taken = std::any_of(classes->begin(), classes->end(),
                                   [&](const HtbClass& one) { return one.handle == handle; });
    if (!taken) return handle;
  }
  return absl::ResourceExhaustedError(
      absl::StrCat("all classes of the plane on ", device.name, " are taken"));
}

std::int64_t SignedCount(std::uint64_t count) { return static_cast<std::int64_t>(count); }

}  // namespace

ClassLever::ClassLever(const NetKernel& kernel, std::string device, std::uint32_t handle,
                       const ClassLeaf& leaf)
    : kernel_(kernel), device_(std::move(device)), handle_(handle), leaf_(leaf) {}

absl::StatusOr<std::unique_ptr<ClassLever>> ClassLever::Create(const NetKernel& kernel,
                                                               Traffic& traffic,
                                                               const NetDevice& device,
                                                               const ClassLeaf& leaf,
                                                               const Shape& shape) {
  if (absl::Status status = CheckPlane(traffic, device); !status.ok()) return status;
  absl::StatusOr<std::uint32_t> handle = FreeClass(traffic, device);
  if (!handle.ok()) return handle.status();
  std::unique_ptr<ClassLever> lever(new ClassLever(kernel, device.name, *handle, leaf));
  lever->change_.set_kind("net_class");
  lever->change_.set_object(device.name);
  lever->change_.set_attribute(ClassName(*handle));
  lever->change_.set_after(leaf.Describe());
  for (int i = 0; i < shape.steps(); ++i) {
    const double level = shape.LevelOfStep(i);
    const Netem step = leaf.NetemAt(level);
    lever->change_.add_steps(
        ClassLeaf{leaf.RateAt(level), step.delay_ns, step.jitter_ns}.Describe());
    if (i == 0) lever->level_ = level;
  }
  return lever;
}

absl::StatusOr<std::unique_ptr<ClassLever>> ClassLever::Recover(const NetKernel& kernel,
                                                                const v1::Change& change) {
  const std::vector<std::string> parts = absl::StrSplit(change.attribute(), ':');
  std::uint32_t major = 0;
  std::uint32_t minor = 0;
  if (parts.size() != 2 || !absl::SimpleHexAtoi(parts[0], &major) ||
      !absl::SimpleHexAtoi(parts[1], &minor) || major > 0xffff || minor > 0xffff) {
    return absl::InvalidArgumentError(
        absl::StrCat("class change names no class: \"", change.attribute(), "\""));
  }
  const std::uint32_t handle = major << 16 | minor;
  if (handle < FAULT_FIRST_CLASS || handle > FAULT_LAST_CLASS) {
    return absl::InvalidArgumentError(
        absl::StrCat("class ", change.attribute(), " is none of a fault's"));
  }
  const absl::StatusOr<ClassLeaf> leaf = ClassLeaf::Parse(change.after());
  if (!leaf.ok()) return leaf.status();
  std::unique_ptr<ClassLever> lever(new ClassLever(kernel, change.object(), handle, *leaf));
  lever->change_ = change;
  lever->recovered_ = true;
  return lever;
}

absl::StatusOr<HtbClass> ClassLever::Read(Traffic& traffic, int* ifindex) const {
  absl::StatusOr<NetDevice> device = traffic.Device(device_);
  if (!device.ok()) return device.status();
  *ifindex = device->index;
  absl::StatusOr<HtbClass> found = traffic.Class(device->index, handle_);
  if (absl::IsNotFound(found.status())) {
    return absl::NotFoundError(
        absl::StrCat("device ", device_, " has no class ", ClassName(handle_)));
  }
  return found;
}

absl::Status ClassLever::Apply() {
  if (recovered_) return absl::FailedPreconditionError("a recovered class cannot be applied");
  absl::StatusOr<std::unique_ptr<Traffic>> traffic = kernel_.network->Open();
  if (!traffic.ok()) return traffic.status();
  absl::StatusOr<NetDevice> device = (*traffic)->Device(device_);
  if (!device.ok()) return device.status();
  absl::Status status =
      (*traffic)->SetClass(device->index, FAULT_PLANE_HANDLE, handle_, Rate(), true);
  if (!status.ok()) return status;
  if (!leaf_.delays()) {
    return (*traffic)->AddLeaf(device->index, handle_, "bfifo", leaf_.QueueBytes());
  }
  return (*traffic)->SetNetem(device->index, handle_, leaf_.NetemAt(level_), true);
}

absl::Status ClassLever::SetLevel(double level) {
  absl::StatusOr<std::unique_ptr<Traffic>> traffic = kernel_.network->Open();
  if (!traffic.ok()) return traffic.status();
  absl::StatusOr<NetDevice> device = (*traffic)->Device(device_);
  if (!device.ok()) return device.status();
  level_ = level;
  if (!leaf_.delays()) {
    return (*traffic)->SetClass(device->index, FAULT_PLANE_HANDLE, handle_, Rate(), false);
  }
  return (*traffic)->SetNetem(device->index, handle_, leaf_.NetemAt(level), false);
}

absl::Status ClassLever::CheckLeaf(Traffic& traffic, int ifindex, const HtbClass& found) const {
  if (found.bytes_per_second != Rate()) {
    return absl::AbortedError(absl::StrCat("class ", ClassName(handle_), " of ", device_,
                                           " has another rate: ", found.bytes_per_second * 8,
                                           " bit/s"));
  }
  if (!leaf_.delays()) return absl::OkStatus();
  const absl::StatusOr<Netem> netem = traffic.GetNetem(ifindex, handle_);
  if (absl::IsNotFound(netem.status())) return absl::AbortedError(netem.status().message());
  if (!netem.ok()) return netem.status();
  const Netem want = leaf_.NetemAt(level_);
  if (netem->delay_ns == want.delay_ns && netem->jitter_ns == want.jitter_ns &&
      netem->limit == want.limit) {
    return absl::OkStatus();
  }
  return absl::AbortedError(absl::StrCat("class ", ClassName(handle_), " of ", device_,
                                         " has another delay: ", netem->delay_ns, " ns, jitter ",
                                         netem->jitter_ns, " ns, limit ", netem->limit));
}

absl::Status ClassLever::Verify() {
  absl::StatusOr<std::unique_ptr<Traffic>> traffic = kernel_.network->Open();
  if (!traffic.ok()) return traffic.status();
  int ifindex = 0;
  absl::StatusOr<HtbClass> found = Read(**traffic, &ifindex);
  if (absl::IsNotFound(found.status())) return absl::AbortedError(found.status().message());
  if (!found.ok()) return found.status();
  if (recovered_ && found->queued_packets == 0) {
    return absl::AbortedError(
        absl::StrCat("nothing waits in class ", ClassName(handle_), " of ", device_, " any more"));
  }
  // What waits does so, whatever the delay or the step of the ramp is now.
  if (recovered_ && (leaf_.delays() || change_.steps_size() > 0)) return absl::OkStatus();
  return CheckLeaf(**traffic, ifindex, *found);
}

Ended ClassLever::OverBy(std::int64_t deadline_ns) {
  return {0, deadline_ns + leaf_.LateNs() + leaf_.LongestWaitNs()};
}

absl::Status ClassLever::Open(Traffic& traffic, int ifindex) {
  if (leaf_.delays()) {
    const absl::Status status = traffic.SetNetem(ifindex, handle_, leaf_.NetemAt(0), false);
    // A class whose leaf was not made yet, or is somebody else's by now, delays nothing of ours.
    if (!absl::IsNotFound(status) && !absl::IsInvalidArgument(status)) return status;
    return absl::OkStatus();
  }
  return traffic.SetClass(ifindex, FAULT_PLANE_HANDLE, handle_, kUnlimitedRate, false);
}

absl::StatusOr<std::int64_t> ClassLever::Quiesce() {
  absl::StatusOr<std::unique_ptr<Traffic>> traffic = kernel_.network->Open();
  if (!traffic.ok()) return traffic.status();
  int ifindex = 0;
  absl::StatusOr<HtbClass> found = Read(**traffic, &ifindex);
  if (absl::IsNotFound(found.status())) return 0;
  if (!found.ok()) return found.status();
  const std::int64_t told_ns = kernel_.clock->Now().boottime_ns;
  if (absl::Status status = Open(**traffic, ifindex); !status.ok()) return status;
  const std::int64_t now_ns = kernel_.clock->Now().boottime_ns;
  if (quiesced_ns_ == 0) {
    quiesced_ns_ = now_ns;
    // Somewhere in the call, as a rule at its beginning: of calls of 2 to 9 ms in an emulated
    // machine, packets had it within 1.6 ms of that. Not so where the kernel's lock is held.
    if (leaf_.delays()) {
      over_ns_ = told_ns + leaf_.LongestWaitNs();
      over_error_ns_ = now_ns - told_ns;
    }
  }
  // A rate that is raised sends all there is in no time; Restore waits for that.
  if (!leaf_.delays()) return 0;
  found = (*traffic)->Class(ifindex, handle_);
  if (absl::IsNotFound(found.status())) return 0;
  if (!found.ok()) return found.status();
  // What waits after that came later, and only for the device.
  const bool held = now_ns - quiesced_ns_ < leaf_.LongestWaitNs();
  return found->queued_packets > 0 && held ? kLookNs : 0;
}

// What waits is sent, not thrown away: 0 packets of the target are lost by the end of a fault.
absl::Status ClassLever::Drain(Traffic& traffic, int ifindex) {
  if (absl::Status status = Open(traffic, ifindex); !status.ok()) return status;
  const std::int64_t now_ns = kernel_.clock->Now().boottime_ns;
  if (drain_ns_ == 0) drain_ns_ = now_ns;
  absl::StatusOr<HtbClass> found = traffic.Class(ifindex, handle_);
  if (!found.ok()) return found.status();
  last_ = *found;
  seen_ = true;
  if (found->queued_packets == 0) return absl::OkStatus();
  if (now_ns - drain_ns_ < kPatienceNs) {
    wait_ns_ = kNsPerMs;
    return absl::UnavailableError(absl::StrCat(last_.queued_packets, " packets wait in class ",
                                               ClassName(handle_), " of ", device_));
  }
  // A device that sends nothing any more; undo goes on.
  LogWarning("class ", ClassName(handle_), " of ", device_,
             " did not drain: ", last_.queued_packets, " packets are dropped");
  return absl::OkStatus();
}

absl::Status ClassLever::Restore() {
  wait_ns_ = 0;
  absl::StatusOr<std::unique_ptr<Traffic>> traffic = kernel_.network->Open();
  if (!traffic.ok()) return traffic.status();
  int ifindex = 0;
  absl::StatusOr<HtbClass> found = Read(**traffic, &ifindex);
  if (absl::IsNotFound(found.status())) return absl::OkStatus();
  if (!found.ok()) return found.status();
  absl::Status status = Drain(**traffic, ifindex);
  if (!status.ok() && !absl::IsNotFound(status)) return status;
  status = (*traffic)->DeleteClass(ifindex, handle_);
  return absl::IsNotFound(status) ? absl::OkStatus() : status;
}

absl::Status ClassLever::Residue() {
  absl::StatusOr<std::unique_ptr<Traffic>> traffic = kernel_.network->Open();
  if (!traffic.ok()) return traffic.status();
  int ifindex = 0;
  absl::StatusOr<HtbClass> found = Read(**traffic, &ifindex);
  if (absl::IsNotFound(found.status())) return absl::OkStatus();
  if (!found.ok()) return found.status();
  return absl::InternalError(absl::StrCat("class ", ClassName(handle_), " is still on ", device_));
}

Evidence ClassLever::Measure() {
  int ifindex = 0;
  if (absl::StatusOr<std::unique_ptr<Traffic>> traffic = kernel_.network->Open(); traffic.ok()) {
    absl::StatusOr<HtbClass> found = Read(**traffic, &ifindex);
    if (found.ok()) {
      last_ = *found;
      seen_ = true;
    }
  }
  Evidence evidence;
  evidence.over_ns = over_ns_;
  evidence.over_error_ns = over_error_ns_;
  if (!seen_) {
    evidence.missing = absl::StrCat("class ", ClassName(handle_), " of ", device_,
                                    ", which counted them, is gone");
    return evidence;
  }
  const bool delays = leaf_.delays();
  evidence.dose.push_back(MakeDose(delays ? "packets_delayed" : "packets_shaped", "{packet}",
                                   SignedCount(last_.packets)));
  evidence.dose.push_back(
      MakeDose(delays ? "bytes_delayed" : "bytes_shaped", "By", SignedCount(last_.bytes)));
  evidence.dose.push_back(MakeDose("queued_bytes", "By", SignedCount(last_.queued_bytes), true));
  if (!delays) evidence.dose.push_back(MakeDose("overlimits", "1", SignedCount(last_.overlimits)));
  evidence.dose.push_back(MakeDose("packets_dropped", "{packet}", SignedCount(last_.drops)));
  return evidence;
}

}  // namespace faultline
