// SPDX-License-Identifier: Apache-2.0
//
// net.delay: the packets that a control group sends over one device are held back, in order, by a
// netem below a class of the device's standing plane.
#include <utility>

#include "absl/strings/str_cat.h"
#include "injector/faults/steered.h"
#include "injector/host/class_leaf.h"

namespace faultline {
namespace {

class NetDelay final : public Fault {
 public:
  absl::Status Plan(Host& host, const Request& request, std::vector<std::unique_ptr<Lever>>* levers,
                    std::vector<std::string>* notes) override {
    DelaySpec spec;
    ReadSteering(request, &spec);
    spec.delay_ns = request.parameters.Integer("delay");
    spec.jitter_ns = request.parameters.Integer("jitter");
    absl::StatusOr<std::vector<std::unique_ptr<Lever>>> planned = host.Delay(spec);
    if (!planned.ok()) return planned.status();
    for (std::unique_ptr<Lever>& lever : *planned) levers->push_back(std::move(lever));
    NoteSteering(host, spec.device,
                 absl::StrCat(" are delayed; up to ", NetemLimit(spec.delay_ns + spec.jitter_ns),
                              " of them wait, and the rest is dropped"),
                 notes);
    if (spec.jitter_ns > 0) {
      notes->push_back(
          "no packet overtakes another: each waits for the slowest before it, so that with jitter "
          "packets that follow closely are delayed by more than asked on average");
    }
    return absl::OkStatus();
  }

  Evidence Measure(Host& /*host*/, absl::Span<const std::unique_ptr<Lever>> levers,
                   std::int64_t /*now_ns*/) override {
    return MeasureSteered(levers, "packets_delayed");
  }
};

}  // namespace

std::unique_ptr<Fault> MakeNetDelay() { return std::make_unique<NetDelay>(); }

absl::Status ProbeNetDelay(Host& host) { return host.Probe("delay"); }

}  // namespace faultline
