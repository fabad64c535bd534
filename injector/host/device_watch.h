// SPDX-License-Identifier: Apache-2.0
//
// Whether a network device stayed up: while it is down no packet passes, whatever a fault does to
// packets, and that is somebody else's doing. One thread at a time, in the network namespace in
// which it began.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "injector/host/traffic.h"

namespace faultline {

class DeviceWatch {
 public:
  // Empty: there is no device to watch.
  DeviceWatch(Network* network, std::string device)
      : network_(network), device_(std::move(device)) {}

  // From now on. A device that is down already is not watched.
  void Begin();

  // Aborted: the device is down, was down in between, or is gone. OK before Begin.
  absl::Status Check() const;

 private:
  Network* const network_;
  const std::string device_;
  bool began_ = false;
  // Of the device that had the name.
  int ifindex_ = 0;
  std::uint32_t carrier_downs_ = 0;
};

}  // namespace faultline
