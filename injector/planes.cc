// SPDX-License-Identifier: Apache-2.0
#include "injector/planes.h"

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "injector/host/net.h"

namespace faultline {
namespace {

absl::Status SetUp(Journal& journal, const std::string& device) {
  // Enough to take the plane away, should we die while it is made.
  v1::Change intent;
  intent.set_kind("net_plane");
  intent.set_object(device);
  if (absl::Status saved = journal.SaveStanding(intent); !saved.ok()) return saved;
  absl::StatusOr<v1::Change> made = SetUpPlane(device);
  if (made.ok()) return journal.SaveStanding(*made);
  // Nothing was made, so there is nothing to take away either.
  if (absl::Status status = journal.ForgetStanding(intent); !status.ok()) return status;
  return made.status();
}

}  // namespace

void SetUpPlanes(Journal& journal, const std::vector<std::string>& devices) {
  for (const std::string& device : devices) {
    const absl::Status status = SetUp(journal, device);
    if (!status.ok()) LogError("no standing plane on ", device, ": ", status.message());
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
