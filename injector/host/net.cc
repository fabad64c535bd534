// SPDX-License-Identifier: Apache-2.0
#include "injector/host/net.h"

namespace faultline {
namespace {

absl::Status NotBuilt() {
  return absl::UnimplementedError("this build of the injector has no network levers");
}

}  // namespace

absl::StatusOr<std::vector<std::unique_ptr<Lever>>> MakeLoss(const LossSpec&) { return NotBuilt(); }
absl::StatusOr<std::vector<std::unique_ptr<Lever>>> MakeRate(const RateSpec&) { return NotBuilt(); }
LeverOr RecoverNet(const v1::Change&) { return NotBuilt(); }
absl::Status ProbeNet(absl::string_view) { return NotBuilt(); }
absl::Status SetUpPlane(const std::string&) { return NotBuilt(); }

}  // namespace faultline
