// SPDX-License-Identifier: Apache-2.0
//
// hold.controllers: no fault. What the rows of the faults need on for a control group of cgroup v2
// is on for as long as this lasts, so that a fault does not turn it on at its start and off at its
// end, for its target and for everybody beside it.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "injector/faults/fault.h"

namespace faultline {
namespace {

// Of all rows, each once.
std::vector<std::string> NeededControllers() {
  std::vector<std::string> needed;
  for (const FaultType& type : FaultTypes()) {
    for (const char* controller : type.controllers) {
      if (std::find(needed.begin(), needed.end(), controller) != needed.end()) continue;
      needed.emplace_back(controller);
    }
  }
  return needed;
}

class HoldControllers final : public Fault {
 public:
  absl::Status Plan(Host& host, const Request& request, std::vector<std::unique_ptr<Lever>>* levers,
                    std::vector<std::string>* notes) override {
    std::vector<std::string> always;
    for (const std::string& controller : NeededControllers()) {
      const absl::StatusOr<std::string> version = host.ControllerVersion(controller);
      if (absl::IsUnimplemented(version.status())) {
        notes->push_back(absl::StrCat(version.status().message(),
                                      ": nothing to hold, and no fault that needs it"));
        continue;
      }
      if (!version.ok()) return version.status();
      if (*version == "v1") {
        always.push_back(controller);
        continue;
      }
      auto more = host.HoldController(request.cgroup, controller);
      if (!more.ok()) return more.status();
      for (std::unique_ptr<Lever>& lever : *more) levers->push_back(std::move(lever));
    }
    if (!always.empty()) {
      notes->push_back(absl::StrCat(absl::StrJoin(always, " and "),
                                    ": a hierarchy of cgroup v1 each on this host, where a "
                                    "controller is always on: nothing to hold"));
    }
    return absl::OkStatus();
  }

  // It does nothing to anybody.
  Evidence Measure(Host& /*host*/, absl::Span<const std::unique_ptr<Lever>> /*levers*/,
                   std::int64_t /*now_ns*/) override {
    return {};
  }
};

}  // namespace

std::unique_ptr<Fault> MakeHoldControllers() { return std::make_unique<HoldControllers>(); }

absl::Status ProbeHoldControllers(Host& /*host*/) { return absl::OkStatus(); }

}  // namespace faultline
