// SPDX-License-Identifier: Apache-2.0
//
// process.pause: the freezer stops every task of the group, v1 and v2.
#include "injector/faults/fault.h"
#include "injector/host/dose.h"

namespace faultline {
namespace {

class ProcessPause final : public Fault {
 public:
  absl::Status Plan(Host& host, const Request& request, std::vector<std::unique_ptr<Lever>>* levers,
                    std::vector<std::string>* notes) override {
    LeverOr lever = host.Freezer(request.cgroup, true);
    if (!lever.ok()) return lever.status();
    levers->push_back(std::move(*lever));
    notes->emplace_back(
        "clients may time out and watchdogs may act; the tasks themselves only miss the time");
    return absl::OkStatus();
  }

  void Resume(const v1::FaultState& state, const Parameters& /*parameters*/) override {
    resumed_ = true;
    pulse_ = state.spec().shape().kind() == v1::SHAPE_KIND_PULSE;
    if (state.dose_size() > 0) paused_ns_ = state.dose(0).value();
    first_touch_ns_ = state.edges().first_touch().boottime_ns();
    last_touch_ns_ = state.edges().last_touch().boottime_ns();
  }

  // The freezer outlives us: a group that is still frozen was so all the time, but for the pauses
  // of a pulse between the last look and the death.
  Evidence Measure(Host& /*host*/, absl::Span<const std::unique_ptr<Lever>> levers,
                   std::int64_t now_ns) override {
    if (!resumed_) return levers.front()->Measure();
    if (levers.front()->Verify().ok()) {
      seen_frozen_ = true;
      if (first_touch_ns_ != 0) last_touch_ns_ = now_ns;
    }
    Evidence evidence;
    evidence.first_touch_ns = first_touch_ns_;
    evidence.last_touch_ns = last_touch_ns_;
    const std::int64_t paused_ns = pulse_ ? paused_ns_ : last_touch_ns_ - first_touch_ns_;
    evidence.dose.push_back(MakeDose("paused_ns", "ns", paused_ns));
    if (pulse_) evidence.missing = "since when the last pulse was on is not known";
    if (!seen_frozen_) evidence.missing = "the group was thawed before the injector came back";
    if (first_touch_ns_ == 0) evidence.missing = "no task had been seen in the group so far";
    return evidence;
  }

 private:
  bool resumed_ = false;
  bool seen_frozen_ = false;
  bool pulse_ = false;
  // Of a pulse, as it was journaled.
  std::int64_t paused_ns_ = 0;
  std::int64_t first_touch_ns_ = 0;
  std::int64_t last_touch_ns_ = 0;
};

}  // namespace

std::unique_ptr<Fault> MakeProcessPause() { return std::make_unique<ProcessPause>(); }

absl::Status ProbeProcessPause(Host& host) { return host.Probe("freezer"); }

}  // namespace faultline
