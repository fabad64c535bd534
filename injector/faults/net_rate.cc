// SPDX-License-Identifier: Apache-2.0
//
// net.rate: the packets that a control group sends over one device share a rate, by a class of the
// device's standing plane.
#include <utility>

#include "injector/faults/steered.h"

namespace faultline {
namespace {

class NetRate final : public Fault {
 public:
  absl::Status Plan(Host& host, const Request& request, std::vector<std::unique_ptr<Lever>>* levers,
                    std::vector<std::string>* notes) override {
    RateSpec spec;
    ReadSteering(request, &spec);
    spec.bits_per_second = request.parameters.Integer("rate");
    absl::StatusOr<std::vector<std::unique_ptr<Lever>>> planned = host.Rate(spec);
    if (!planned.ok()) return planned.status();
    for (std::unique_ptr<Lever>& lever : *planned) levers->push_back(std::move(lever));
    NoteSteering(
        host, spec.device,
        " are shaped; up to 200 ms of the rate wait, at least 128 KiB, and the rest is dropped",
        notes);
    if (request.shape.pulse()) {
      notes->emplace_back(
          "at the end of each pulse what still waits is sent at the rate, and newer packets pass "
          "it: a connection sees them out of order");
    }
    return absl::OkStatus();
  }

  Evidence Measure(Host& /*host*/, absl::Span<const std::unique_ptr<Lever>> levers,
                   std::int64_t /*now_ns*/) override {
    return MeasureSteered(levers, "packets_shaped");
  }
};

}  // namespace

std::unique_ptr<Fault> MakeNetRate() { return std::make_unique<NetRate>(); }

absl::Status ProbeNetRate(Host& host) { return host.Probe("rate"); }

}  // namespace faultline
