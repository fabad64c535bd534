// SPDX-License-Identifier: Apache-2.0
#include "injector/faults/steered.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace faultline {

void ReadSteering(const Request& request, SteerSpec* spec) {
  spec->fault_id = request.spec.id();
  spec->cgroup = request.cgroup;
  spec->device = request.parameters.Text("device");
  spec->peers.assign(request.spec.peers().begin(), request.spec.peers().end());
  spec->exempt = request.exempt;
  spec->deadline_ns = request.deadline_ns;
  spec->shape = request.shape;
  spec->start_ns = request.start_ns;
}

void NoteSteering(Host& host, const std::string& device, const std::string& rest,
                  std::vector<std::string>* notes) {
  notes->push_back(
      "a socket stays in the control group that it was made in: what a process opened before it "
      "was moved into this group is not met");
  notes->push_back(absl::StrCat("only packets that leave by ", device, rest));
  if (absl::Status kept = host.Probe("ledger"); !kept.ok()) notes->emplace_back(kept.message());
}

Evidence MeasureSteered(absl::Span<const std::unique_ptr<Lever>> levers,
                        absl::string_view primary) {
  Evidence sum;
  bool counted = false;
  std::int64_t over_ns = 0;
  std::int64_t over_error_ns = 0;
  for (const std::unique_ptr<Lever>& lever : levers) {
    Evidence one = lever->Measure();
    for (v1::Dose& dose : one.dose) {
      counted = counted || dose.name() == primary;
      sum.dose.push_back(std::move(dose));
    }
    if (!one.missing.empty()) sum.missing = one.missing;
    if (one.over_ns != 0) {
      over_ns = one.over_ns;
      over_error_ns = one.over_error_ns;
    }
    if (one.first_touch_ns == 0) continue;
    sum.first_touch_ns = one.first_touch_ns;
    sum.last_touch_ns = one.last_touch_ns;
  }
  // At the end of a delay packets are steered for longer than they are delayed.
  if (over_ns != 0 && over_ns < sum.last_touch_ns) {
    sum.last_touch_ns = over_ns;
    sum.error_ns = over_error_ns;
  }
  if (counted && !sum.missing.empty()) {
    sum.missing_what = "packets_steered, buffers_steered and the touches";
  }
  return sum;
}

}  // namespace faultline
