// SPDX-License-Identifier: Apache-2.0
//
// net.rate: the packets that a control group sends over one device share a rate, by a class of the
// device's standing plane.
#include <utility>

#include "absl/strings/str_cat.h"
#include "injector/faults/fault.h"

namespace faultline {
namespace {

class NetRate final : public Fault {
 public:
  absl::Status Plan(Host& host, const Request& request, std::vector<std::unique_ptr<Lever>>* levers,
                    std::vector<std::string>* notes) override {
    RateSpec spec;
    spec.fault_id = request.spec.id();
    spec.cgroup = request.cgroup;
    spec.device = request.parameters.Text("device");
    spec.bits_per_second = request.parameters.Integer("rate");
    spec.peers.assign(request.spec.peers().begin(), request.spec.peers().end());
    spec.deadline_ns = request.deadline_ns;
    absl::StatusOr<std::vector<std::unique_ptr<Lever>>> planned = host.Rate(spec);
    if (!planned.ok()) return planned.status();
    for (std::unique_ptr<Lever>& lever : *planned) levers->push_back(std::move(lever));

    notes->push_back(
        "a socket stays in the control group that it was made in: what a process opened before it "
        "was moved into this group is not met");
    notes->push_back(absl::StrCat(
        "only packets that leave by ", spec.device,
        " are shaped; up to 200 ms of the rate wait, at least 128 KiB, and the rest is dropped"));
    if (absl::Status kept = host.Probe("ledger"); !kept.ok()) notes->emplace_back(kept.message());
    return absl::OkStatus();
  }

  // The class counts what passed it; the program at the hook knows when.
  Evidence Measure(Host& /*host*/, absl::Span<const std::unique_ptr<Lever>> levers,
                   std::int64_t /*now_ns*/) override {
    Evidence sum;
    bool shaped = false;
    for (const std::unique_ptr<Lever>& lever : levers) {
      Evidence one = lever->Measure();
      for (v1::Dose& dose : one.dose) {
        shaped = shaped || dose.name() == "packets_shaped";
        sum.dose.push_back(std::move(dose));
      }
      if (!one.missing.empty()) sum.missing = one.missing;
      if (one.first_touch_ns == 0) continue;
      sum.first_touch_ns = one.first_touch_ns;
      sum.last_touch_ns = one.last_touch_ns;
    }
    if (shaped && !sum.missing.empty()) {
      sum.missing_what = "packets_steered, buffers_steered and the touches";
    }
    return sum;
  }
};

}  // namespace

std::unique_ptr<Fault> MakeNetRate() { return std::make_unique<NetRate>(); }

absl::Status ProbeNetRate(Host& host) { return host.Probe("rate"); }

}  // namespace faultline
