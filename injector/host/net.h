// SPDX-License-Identifier: Apache-2.0
//
// The network's levers, as RealHost calls them: loss by BPF links, rate by a class on the standing
// plane. Called under the controller's mutex: one thread at a time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "injector/host/host.h"

namespace faultline {

// As Host::Loss and Host::Rate.
absl::StatusOr<std::vector<std::unique_ptr<Lever>>> MakeLoss(const LossSpec& spec);
absl::StatusOr<std::vector<std::unique_ptr<Lever>>> MakeRate(const RateSpec& spec);

// As Host::Recover, for the kinds "link" and "net_class".
LeverOr RecoverNet(const v1::Change& change);

// As Host::Probe, for the kinds "link" and "net_class".
absl::Status ProbeNet(absl::string_view kind);

// Makes the standing plane on `device`, or finds that it stands. FailedPrecondition: somebody
// else's root qdisc is there.
absl::Status SetUpPlane(const std::string& device);

}  // namespace faultline
