// SPDX-License-Identifier: Apache-2.0
//
// The network's standing planes of this host: made when the service starts, or its device comes;
// journaled, left standing when the service stops, and removed only with it. One thread at a time,
// and the journal is its user's: main's before the controller gets it, then the controller's.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "injector/host/host.h"
#include "injector/host/net.h"
#include "injector/host/netlink.h"
#include "injector/host/plane.h"
#include "injector/journal.h"

namespace faultline {

class Planes {
 public:
  // Of `devices`, which need not be there yet.
  Planes(const NetKernel& kernel, std::vector<PlaneDevice> devices);

  // Makes the plane of each device, or completes the one that stands; journaled first. A device
  // that cannot have one is reported and left out: faults that need it are refused with the reason.
  void SetUp(Journal& journal);

  // Readable when a device may have changed, for poll(2); negative: there is none to wait for.
  int events() const;
  // Takes what made events() readable. Whether one of the devices is another one than before, or
  // can have a plane now, or not any more.
  bool Changed();
  // After that: makes the planes that are missing and can be made by now, and tells what keeps a
  // changed device from one.
  void SetUpChanged(Journal& journal);

 private:
  struct Device {
    PlaneDevice wanted;
    // As it was looked at last, and what was made of it since.
    PlaneSite site;
    bool changed = false;
  };
  void Look();
  void MakeAndTell(Journal& journal, Device* device);

  const NetKernel kernel_;
  std::vector<Device> devices_;
  std::optional<DeviceEvents> events_;
};

// Takes away every plane that the journal knows.
absl::Status RemovePlanes(Journal& journal, Host& host);

}  // namespace faultline
