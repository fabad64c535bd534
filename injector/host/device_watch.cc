// SPDX-License-Identifier: Apache-2.0
#include "injector/host/device_watch.h"

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace faultline {
namespace {

absl::StatusOr<NetDevice> Read(Network* network, const std::string& name) {
  const absl::StatusOr<std::unique_ptr<Traffic>> traffic = network->Open();
  if (!traffic.ok()) return traffic.status();
  return (*traffic)->Device(name);
}

}  // namespace

void DeviceWatch::Begin() {
  if (device_.empty()) return;
  const absl::StatusOr<NetDevice> device = Read(network_, device_);
  if (!device.ok() || !device->up) return;
  ifindex_ = device->index;
  carrier_downs_ = device->carrier_downs;
  began_ = true;
}

absl::Status DeviceWatch::Check() const {
  if (!began_) return absl::OkStatus();
  const absl::StatusOr<NetDevice> device = Read(network_, device_);
  if (absl::IsNotFound(device.status()) || (device.ok() && device->index != ifindex_)) {
    return absl::AbortedError(absl::StrCat("device ", device_, " is gone"));
  }
  if (!device.ok()) return device.status();
  if (!device->up) return absl::AbortedError(absl::StrCat("device ", device_, " was set down"));
  if (device->carrier_downs == carrier_downs_) return absl::OkStatus();
  return absl::AbortedError(absl::StrCat("device ", device_, " was without a link in between"));
}

}  // namespace faultline
