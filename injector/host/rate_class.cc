// SPDX-License-Identifier: Apache-2.0
//
// The class of a rate fault; plane.h has the plane that it stands on.
#include <linux/pkt_sched.h>

#include <algorithm>
#include <chrono>
#include <thread>
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

// 200 ms of the rate, but never less than two GSO buffers, of which one must always fit, nor more
// than any sender's window.
std::uint32_t QueueBytes(std::uint64_t bytes_per_second) {
  constexpr std::uint64_t kLeast = 128 << 10;
  constexpr std::uint64_t kMost = 64 << 20;
  return static_cast<std::uint32_t>(std::clamp(bytes_per_second / 5, kLeast, kMost));
}

absl::StatusOr<std::uint32_t> FreeClass(Netlink& netlink, const NetDevice& device) {
  absl::StatusOr<std::vector<HtbClass>> classes = netlink.Classes(device.index);
  if (!classes.ok()) return classes.status();
  // Goes round, so that two faults that are planned before either is applied get two classes.
  static std::uint32_t next = FAULT_FIRST_CLASS;
  for (std::uint32_t tried = FAULT_FIRST_CLASS; tried <= FAULT_LAST_CLASS; ++tried) {
    const std::uint32_t handle = next;
    next = next == FAULT_LAST_CLASS ? FAULT_FIRST_CLASS : next + 1;
    const bool taken = std::any_of(classes->begin(), classes->end(),
                                   [&](const HtbClass& one) { return one.handle == handle; });
    if (!taken) return handle;
  }
  return absl::ResourceExhaustedError(
      absl::StrCat("all classes of the plane on ", device.name, " are taken"));
}

std::int64_t SignedCount(std::uint64_t count) { return static_cast<std::int64_t>(count); }

}  // namespace

RateClassLever::RateClassLever(std::string device, std::uint32_t handle,
                               std::uint64_t bytes_per_second)
    : device_(std::move(device)), handle_(handle), bytes_per_second_(bytes_per_second) {}

absl::StatusOr<std::unique_ptr<RateClassLever>> RateClassLever::Create(
    Netlink& netlink, const NetDevice& device, std::int64_t bits_per_second) {
  if (absl::Status status = CheckPlane(netlink, device); !status.ok()) return status;
  absl::StatusOr<std::uint32_t> handle = FreeClass(netlink, device);
  if (!handle.ok()) return handle.status();
  constexpr std::int64_t kLeast = 8'000;
  const std::int64_t bits = std::max(bits_per_second, kLeast);
  std::unique_ptr<RateClassLever> lever(
      new RateClassLever(device.name, *handle, static_cast<std::uint64_t>(bits) / 8));
  lever->change_.set_kind("net_class");
  lever->change_.set_object(device.name);
  lever->change_.set_attribute(ClassName(*handle));
  lever->change_.set_after(absl::StrCat("htb rate ", bits, " bit/s"));
  return lever;
}

absl::StatusOr<std::unique_ptr<RateClassLever>> RateClassLever::Recover(const v1::Change& change) {
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
  const std::vector<std::string> words = absl::StrSplit(change.after(), ' ');
  std::uint64_t bits = 0;
  if (words.size() != 4 || !absl::SimpleAtoi(words[2], &bits) || bits < 8) {
    return absl::InvalidArgumentError(
        absl::StrCat("class change names no rate: \"", change.after(), "\""));
  }
  std::unique_ptr<RateClassLever> lever(new RateClassLever(change.object(), handle, bits / 8));
  lever->change_ = change;
  lever->recovered_ = true;
  return lever;
}

absl::StatusOr<HtbClass> RateClassLever::Read(Netlink& netlink, int* ifindex) const {
  absl::StatusOr<NetDevice> device = netlink.Device(device_);
  if (!device.ok()) return device.status();
  *ifindex = device->index;
  absl::StatusOr<HtbClass> found = netlink.Class(device->index, handle_);
  if (absl::IsNotFound(found.status())) {
    return absl::NotFoundError(
        absl::StrCat("device ", device_, " has no class ", ClassName(handle_)));
  }
  return found;
}

absl::Status RateClassLever::Apply() {
  absl::StatusOr<std::unique_ptr<Netlink>> netlink = Netlink::Open();
  if (!netlink.ok()) return netlink.status();
  absl::StatusOr<NetDevice> device = (*netlink)->Device(device_);
  if (!device.ok()) return device.status();
  absl::Status status =
      (*netlink)->SetClass(device->index, FAULT_PLANE_HANDLE, handle_, bytes_per_second_, true);
  if (!status.ok()) return status;
  return (*netlink)->AddLeaf(device->index, handle_, "bfifo", QueueBytes(bytes_per_second_));
}

absl::Status RateClassLever::Verify() {
  absl::StatusOr<std::unique_ptr<Netlink>> netlink = Netlink::Open();
  if (!netlink.ok()) return netlink.status();
  int ifindex = 0;
  absl::StatusOr<HtbClass> found = Read(**netlink, &ifindex);
  if (absl::IsNotFound(found.status())) return absl::AbortedError(found.status().message());
  if (!found.ok()) return found.status();
  if (recovered_ && found->queued_packets == 0) {
    return absl::AbortedError(
        absl::StrCat("nothing waits in class ", ClassName(handle_), " of ", device_, " any more"));
  }
  if (found->bytes_per_second == bytes_per_second_) return absl::OkStatus();
  return absl::AbortedError(absl::StrCat("class ", ClassName(handle_), " of ", device_,
                                         " has another rate: ", found->bytes_per_second * 8,
                                         " bit/s"));
}

Ended RateClassLever::OverBy(std::int64_t deadline_ns) {
  const double seconds =
      static_cast<double>(QueueBytes(bytes_per_second_)) / static_cast<double>(bytes_per_second_);
  return {0, deadline_ns + static_cast<std::int64_t>(seconds * 1e9)};
}

// What waits is sent, not thrown away: 0 packets of the target are lost by the end of a fault.
absl::Status RateClassLever::Drain(Netlink& netlink, int ifindex) {
  absl::Status status =
      netlink.SetClass(ifindex, FAULT_PLANE_HANDLE, handle_, kUnlimitedRate, false);
  if (!status.ok()) return status;
  constexpr int kPolls = 2000;
  for (int i = 0; i < kPolls; ++i) {
    absl::StatusOr<HtbClass> found = netlink.Class(ifindex, handle_);
    if (!found.ok()) return found.status();
    last_ = *found;
    seen_ = true;
    if (found->queued_packets == 0) return absl::OkStatus();
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  // A device that sends nothing any more; undo goes on.
  LogWarning("class ", ClassName(handle_), " of ", device_,
             " did not drain: ", last_.queued_packets, " packets are dropped");
  return absl::OkStatus();
}

absl::Status RateClassLever::Restore() {
  absl::StatusOr<std::unique_ptr<Netlink>> netlink = Netlink::Open();
  if (!netlink.ok()) return netlink.status();
  int ifindex = 0;
  absl::StatusOr<HtbClass> found = Read(**netlink, &ifindex);
  if (absl::IsNotFound(found.status())) return absl::OkStatus();
  if (!found.ok()) return found.status();
  absl::Status status = Drain(**netlink, ifindex);
  if (!status.ok() && !absl::IsNotFound(status)) return status;
  status = (*netlink)->DeleteClass(ifindex, handle_);
  return absl::IsNotFound(status) ? absl::OkStatus() : status;
}

absl::Status RateClassLever::Residue() {
  absl::StatusOr<std::unique_ptr<Netlink>> netlink = Netlink::Open();
  if (!netlink.ok()) return netlink.status();
  int ifindex = 0;
  absl::StatusOr<HtbClass> found = Read(**netlink, &ifindex);
  if (absl::IsNotFound(found.status())) return absl::OkStatus();
  if (!found.ok()) return found.status();
  return absl::InternalError(absl::StrCat("class ", ClassName(handle_), " is still on ", device_));
}

Evidence RateClassLever::Measure() {
  int ifindex = 0;
  if (absl::StatusOr<std::unique_ptr<Netlink>> netlink = Netlink::Open(); netlink.ok()) {
    absl::StatusOr<HtbClass> found = Read(**netlink, &ifindex);
    if (found.ok()) {
      last_ = *found;
      seen_ = true;
    }
  }
  Evidence evidence;
  if (!seen_) {
    evidence.missing = absl::StrCat("class ", ClassName(handle_), " of ", device_,
                                    ", which counted them, is gone");
    return evidence;
  }
  evidence.dose.push_back(MakeDose("packets_shaped", "{packet}", SignedCount(last_.packets)));
  evidence.dose.push_back(MakeDose("bytes_shaped", "By", SignedCount(last_.bytes)));
  evidence.dose.push_back(MakeDose("queued_bytes", "By", SignedCount(last_.queued_bytes), true));
  evidence.dose.push_back(MakeDose("overlimits", "1", SignedCount(last_.overlimits)));
  evidence.dose.push_back(MakeDose("packets_dropped", "{packet}", SignedCount(last_.drops)));
  return evidence;
}

}  // namespace faultline
