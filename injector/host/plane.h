// SPDX-License-Identifier: Apache-2.0
//
// The standing plane of a device: an htb root that everything passes untouched until a BPF link
// gives packets the classid of one of its classes. Setting it up or removing it can lose packets of
// others (the kernel flushes the device's queue whenever a root is grafted); adding, changing and
// deleting a class loses none. docs/decisions/0002-network-plane.md. One thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "injector/host/host.h"
#include "injector/host/netlink.h"

namespace faultline {

// A device as a place for a plane.
struct PlaneSite {
  // 0: there is no such device.
  int ifindex = 0;
  bool stands = false;
  // OK: one stands or could be made now. NotFound: no such device. FailedPrecondition: what its
  // owner would have to change.
  absl::Status can;

  bool operator==(const PlaneSite& other) const {
    return ifindex == other.ifindex && stands == other.stands && can == other.can;
  }
};
PlaneSite LookAtPlane(Netlink& netlink, const std::string& device);

// FailedPrecondition with the way out: there is no plane on `device`.
absl::Status CheckPlane(Netlink& netlink, const NetDevice& device);

// The same, and that it has the class that loses what is steered into it.
absl::Status CheckSink(Netlink& netlink, const NetDevice& device);

// A class of the plane with a rate, and a queue below it, as a lever. Its counters are the dose.
class RateClassLever : public Lever {
 public:
  // Chooses a free class; nothing is made yet.
  static absl::StatusOr<std::unique_ptr<RateClassLever>> Create(Netlink& netlink,
                                                                const NetDevice& device,
                                                                std::int64_t bits_per_second);
  // For a change that Create once filled in.
  static absl::StatusOr<std::unique_ptr<RateClassLever>> Recover(const v1::Change& change);

  std::uint32_t handle() const { return handle_; }

  const v1::Change& change() const override { return change_; }
  absl::Status Apply() override;
  // A recovered one is in force while packets wait in it: the link that fed it went with its
  // process.
  absl::Status Verify() override;
  // What had come until the link was gone left within the time that a full queue takes.
  Ended OverBy(std::int64_t deadline_ns) override;
  // Raises the rate, waits until the queue has drained (bounded), deletes the class.
  absl::Status Restore() override;
  absl::Status Residue() override;
  Evidence Measure() override;

 private:
  RateClassLever(std::string device, std::uint32_t handle, std::uint64_t bytes_per_second);
  // NotFound: device, plane or class is gone.
  absl::StatusOr<HtbClass> Read(Netlink& netlink, int* ifindex) const;
  absl::Status Drain(Netlink& netlink, int ifindex);

  const std::string device_;
  const std::uint32_t handle_;
  const std::uint64_t bytes_per_second_;
  v1::Change change_;
  bool recovered_ = false;
  HtbClass last_;
  bool seen_ = false;
};

// The plane itself as a lever of an earlier process, so that uninstalling can undo its change.
LeverOr RecoverPlane(const v1::Change& change);

}  // namespace faultline
