// SPDX-License-Identifier: Apache-2.0
//
// process.pause: the freezer stops every task of the group, v1 and v2.
#include "injector/faults/fault.h"

namespace faultline {
namespace {

class ProcessPause final : public Fault {
 public:
  absl::Status Plan(Host& host, const Request& request, std::vector<std::unique_ptr<Lever>>* levers,
                    std::vector<std::string>* notes) override {
    LeverOr lever = host.Freezer(request.cgroup);
    if (!lever.ok()) return lever.status();
    levers->push_back(std::move(*lever));
    notes->emplace_back(
        "clients may time out and watchdogs may act; the tasks themselves only miss the time");
    return absl::OkStatus();
  }

  Evidence Measure(Host& /*host*/, absl::Span<const std::unique_ptr<Lever>> levers,
                   std::int64_t /*now_ns*/) override {
    return levers.front()->Measure();
  }
};

}  // namespace

std::unique_ptr<Fault> MakeProcessPause() { return std::make_unique<ProcessPause>(); }

absl::Status ProbeProcessPause(Host& host) { return host.Probe("freezer"); }

}  // namespace faultline
