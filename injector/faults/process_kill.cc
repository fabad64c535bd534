// SPDX-License-Identifier: Apache-2.0
//
// process.kill: a signal to one process or to all of a group, once, again and again, or at the
// beginning of each pulse. What becomes of the target then is the effect: that its group goes, or
// is made anew by who watches over it, ends no such fault.
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "injector/faults/fault.h"
#include "injector/host/dose.h"
#include "injector/host/signal.h"

namespace faultline {
namespace {

std::string Spell(std::int64_t ns) { return absl::FormatDuration(absl::Nanoseconds(ns)); }

class ProcessKill final : public Fault {
 public:
  absl::Status Plan(Host& host, const Request& request, std::vector<std::unique_ptr<Lever>>* levers,
                    std::vector<std::string>* notes) override {
    const std::int64_t every_ns = request.parameters.Integer("every");
    if (absl::Status often = CheckEvery(request, every_ns); !often.ok()) return often;
    SignalSpec spec;
    spec.cgroup = request.cgroup;
    if (request.spec.target().has_pid()) spec.pid = request.spec.target().pid();
    spec.signal = request.parameters.Text("signal");
    LeverOr lever = host.Signal(spec);
    if (!lever.ok()) return lever.status();
    levers->push_back(std::move(*lever));
    notes->emplace_back(
        "a signal cannot be undone: what a process loses by it is lost, and nothing starts it "
        "again but whoever watches over it");
    if (every_ns > 0) {
      notes->push_back(absl::StrCat("it is sent every ", Spell(every_ns),
                                    spec.pid == 0 ? ", also to what came back" : ""));
    } else if (!request.shape.pulse()) {
      notes->push_back(absl::StrCat(
          "it is sent once, and the fault stays active for ", Spell(request.spec.duration_ns()),
          " all the same: that is the time for which the target is labelled, so let it be what the "
          "target needs to come back"));
    }
    return absl::OkStatus();
  }

  // Again and again is a pulse of which only the beginning counts.
  Shape StepsOf(const Request& request) const override {
    const std::int64_t every_ns = request.parameters.Integer("every");
    if (every_ns == 0) return request.shape;
    return {0, every_ns / 2, every_ns - every_ns / 2};
  }

  bool EndsTarget() const override { return true; }

  void Resume(const v1::FaultState& state, const Parameters& parameters) override {
    resumed_ = true;
    repeated_ =
        parameters.Integer("every") > 0 || state.spec().shape().kind() == v1::SHAPE_KIND_PULSE;
    past_.dose = {state.dose().begin(), state.dose().end()};
    past_.first_touch_ns = state.edges().first_touch().boottime_ns();
    past_.last_touch_ns = state.edges().last_touch().boottime_ns();
    past_.error_ns = state.edges().last_touch().error_ns();
    SayWhatIsMissing();
  }

  Evidence Measure(Host& /*host*/, absl::Span<const std::unique_ptr<Lever>> levers,
                   std::int64_t /*now_ns*/) override {
    return resumed_ ? past_ : levers.front()->Measure();
  }

 private:
  static absl::Status CheckEvery(const Request& request, std::int64_t every_ns) {
    if (every_ns == 0) return absl::OkStatus();
    if (request.shape.pulse()) {
      return absl::InvalidArgumentError(
          "process.kill: a pulse says when it is sent, and so does every; leave one of them out");
    }
    // As often as a pulse can be.
    constexpr std::int64_t kLeastNs = 2 * Shape::kLeastStepNs;
    if (every_ns >= kLeastNs) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat("process.kill: every is ", Spell(every_ns),
                                                   "; it must be 0, which is once, or at least ",
                                                   Spell(kLeastNs)));
  }

  // The counts are the dead injector's own: what it had journaled is all that is known.
  void SayWhatIsMissing() {
    if (past_.dose.size() < 2) {
      past_.missing = "what had been sent was not journaled yet";
    } else if (repeated_) {
      past_.missing = "what was sent after that was not journaled";
    } else if (past_.dose[0].value() != past_.dose[1].value()) {
      past_.missing = "nobody saw which of the others ended";
      past_.missing_what = "processes_ended";
    }
  }

  bool resumed_ = false;
  bool repeated_ = false;
  // As it was journaled.
  Evidence past_;
};

}  // namespace

std::unique_ptr<Fault> MakeProcessKill() { return std::make_unique<ProcessKill>(); }

absl::Status ProbeProcessKill(Host& host) { return host.Probe("signal"); }

}  // namespace faultline
