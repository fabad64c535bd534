// SPDX-License-Identifier: Apache-2.0
#include "injector/planes.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"

namespace faultline {
namespace {

absl::Status Make(const NetKernel& kernel, Journal& journal, const PlaneDevice& device) {
  // Enough to take the plane away, should we die while it is made.
  v1::Change intent;
  intent.set_kind("net_plane");
  intent.set_object(device.name);
  absl::StatusOr<std::vector<v1::Change>> standing = journal.LoadStanding();
  if (!standing.ok()) return standing.status();
  for (const v1::Change& earlier : *standing) {
    if (earlier.object() == device.name && earlier.before() != earlier.after()) {
      intent.set_before(earlier.before());
    }
  }
  if (absl::Status saved = journal.SaveStanding(intent); !saved.ok()) return saved;
  absl::StatusOr<v1::Change> made = SetUpPlane(kernel, device);
  if (made.ok()) {
    // Who finds a plane standing does not see what was there before it.
    if (made->before() == made->after()) made->set_before(intent.before());
    return journal.SaveStanding(*made);
  }
  // One that stands already, and could not be completed, is still to be taken away some day.
  const LeverOr plane = RecoverPlane(kernel, intent);
  if (plane.ok() && (*plane)->Residue().ok()) {
    if (absl::Status status = journal.ForgetStanding(intent); !status.ok()) return status;
  }
  return made.status();
}

}  // namespace

void Planes::MakeAndTell(Journal& journal, Device* device) {
  const absl::Status status = Make(kernel_, journal, device->wanted);
  if (status.ok()) {
    device->site.stands = true;
  } else {
    LogError("no standing plane on ", device->wanted.name, ": ", status.message());
  }
}

Planes::Planes(const NetKernel& kernel, std::vector<PlaneDevice> devices) : kernel_(kernel) {
  for (PlaneDevice& wanted : devices) devices_.push_back({std::move(wanted), {}});
  if (devices_.empty()) return;
  absl::StatusOr<DeviceEvents> events = DeviceEvents::Open();
  if (events.ok()) {
    events_ = *std::move(events);
  } else {
    LogWarning("a device that comes later gets no standing plane: ", events.status().message());
  }
}

void Planes::SetUp(Journal& journal) {
  // Before, so that a device that comes meanwhile is seen to have changed.
  Look();
  for (Device& device : devices_) MakeAndTell(journal, &device);
}

int Planes::events() const { return events_.has_value() ? events_->fd() : -1; }

void Planes::Look() {
  // Nor a warning for a host, or a task like --undo, that has none.
  if (devices_.empty()) return;
  const absl::StatusOr<std::unique_ptr<Traffic>> traffic = kernel_.network->Open();
  if (!traffic.ok()) {
    LogWarning("what became of network devices cannot be looked at: ", traffic.status().message());
    return;
  }
  for (Device& device : devices_) {
    PlaneSite now = LookAtPlane(**traffic, device.wanted);
    device.changed = !(now == device.site);
    device.site = std::move(now);
  }
}

bool Planes::Changed() {
  if (events_.has_value()) events_->Take();
  Look();
  return std::any_of(devices_.begin(), devices_.end(),
                     [](const Device& device) { return device.changed; });
}

void Planes::SetUpChanged(Journal& journal) {
  for (Device& device : devices_) {
    if (!device.changed || device.site.stands) continue;
    if (device.site.can.ok()) {
      MakeAndTell(journal, &device);
      if (device.site.stands) LogInfo(device.wanted.name, " has its standing plane");
    } else {
      LogWarning("no standing plane on ", device.wanted.name, ": ", device.site.can.message());
    }
  }
}

absl::Status RemovePlanes(Journal& journal, Host& host) {
  absl::StatusOr<std::vector<v1::Change>> standing = journal.LoadStanding();
  if (!standing.ok()) return standing.status();
  for (const v1::Change& change : *standing) {
    LeverOr lever = host.Recover(change);
    if (!lever.ok()) return lever.status();
    if (absl::Status restored = (*lever)->Restore(); !restored.ok()) return restored;
    if (absl::Status forgotten = journal.ForgetStanding(change); !forgotten.ok()) return forgotten;
    LogInfo("the standing plane on ", change.object(), " is removed");
  }
  return absl::OkStatus();
}

}  // namespace faultline
