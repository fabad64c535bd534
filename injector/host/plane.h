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
#include "injector/host/kernel.h"
#include "injector/host/lever.h"
#include "injector/host/net.h"
#include "injector/host/traffic.h"

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
PlaneSite LookAtPlane(Traffic& traffic, const PlaneDevice& device);

// FailedPrecondition with the way out: there is no plane on `device`.
absl::Status CheckPlane(Traffic& traffic, const NetDevice& device);

// The same, and that it has the class that loses what is steered into it.
absl::Status CheckSink(Traffic& traffic, const NetDevice& device);

// The plane itself as a lever of an earlier process, so that uninstalling can undo its change.
LeverOr RecoverPlane(const NetKernel& kernel, const v1::Change& change);

}  // namespace faultline
