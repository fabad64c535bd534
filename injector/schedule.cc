// SPDX-License-Identifier: Apache-2.0
//
// Faults that begin later. One is planned when it is ordered, so that what cannot work is refused
// at once, and again shortly before its start, from what is there by then; that plan is journaled,
// so that at the start only the change itself remains. Until it begins, all that can happen to it
// is that it is refused.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/event.h"
#include "base/log.h"
#include "base/status.h"
#include "injector/controller.h"
#include "injector/fault_log.h"
#include "injector/start_time.h"

namespace faultline {
namespace {

// Before the start: loading BPF programs takes 10 to 100 ms each, a commit to a slow disk as much.
constexpr std::int64_t kReadyAheadNs = kNsPerSecond;
// Between attempts to plan while another fault is on its way out, or something does not answer.
constexpr std::int64_t kPlanRetryNs = 50 * kNsPerMs;
// Most that wait at the same time.
constexpr size_t kMaxScheduled = 64;

bool Overlap(const v1::FaultState& other, std::int64_t start_ns, std::int64_t deadline_ns) {
  return other.start_boottime_ns() < deadline_ns && start_ns < other.deadline_boottime_ns();
}

// As it stands in the journal: there is nothing to undo.
v1::FaultState WithoutChanges(const v1::FaultState& state) {
  v1::FaultState row = state;
  row.clear_changes();
  row.clear_baseline();
  return row;
}

Instant CommandOf(const v1::FaultState& state) {
  const v1::Edge& commanded = state.edges().commanded();
  return {commanded.boottime_ns(), commanded.realtime_ns()};
}

}  // namespace

Others Controller::OthersOf(const v1::FaultSpec& spec, bool hold, std::int64_t start_ns) {
  Others others;
  const bool later = IsScheduled(spec);
  for (const Active& active : active_) {
    const v1::FaultState& state = active.injection->state();
    const bool over =
        state.phase() == v1::PHASE_UNDOING || state.deadline_boottime_ns() <= start_ns;
    (later && over ? others.before : others.beside).push_back(&state);
  }
  // What is held for a run has to be there before a fault begins, and is.
  if (hold) return others;
  for (const Scheduled& one : scheduled_) {
    const v1::FaultState& state = one.now();
    if (state.spec().id() == spec.id()) continue;
    if (Overlap(state, start_ns, start_ns + spec.duration_ns())) others.beside.push_back(&state);
  }
  return others;
}

absl::StatusOr<v1::FaultState> Controller::Accept(const Injection& injection) {
  const v1::FaultState& state = injection.state();
  absl::Status kept = CloseRows();
  if (scheduled_.size() >= kMaxScheduled) {
    kept = absl::FailedPreconditionError(
        absl::StrCat(scheduled_.size(),
                     " faults wait for their start on this host already; stop one with `faultline "
                     "stop ID`, or wait until one has begun"));
  }
  if (kept.ok()) kept = journal_->Save(WithoutChanges(state));
  if (!kept.ok()) {
    Refuse(state.spec(), CommandOf(state), kept);
    return kept;
  }
  Tell(state);
  LogInfo("fault ", injection.id(), ": ", state.spec().type(), " on ", state.cgroup(),
          " is accepted, and begins in ",
          absl::FormatDuration(
              absl::Nanoseconds(state.start_boottime_ns() - CommandOf(state).boottime_ns)));
  for (const std::string& note : injection.notes()) {
    LogInfo("fault ", injection.id(), ": note: ", note);
  }
  scheduled_.push_back({.state = state,
                        .process_start = injection.process_start(),
                        .ready = nullptr,
                        .next_ns = state.start_boottime_ns() - kReadyAheadNs});
  Wake();
  return state;
}

void Controller::RunSchedule(std::int64_t now_ns) {
  // What begins is erased first, so that nothing is met twice.
  for (size_t i = 0; i < scheduled_.size();) {
    if (scheduled_[i].next_ns > now_ns || RunScheduled(scheduled_[i], now_ns)) {
      ++i;
      continue;
    }
    Scheduled one = std::move(scheduled_[i]);
    scheduled_.erase(scheduled_.begin() + static_cast<std::ptrdiff_t>(i));
    // What fails from here on is told like any failure of a fault that has begun.
    if (one.ready != nullptr) (void)Begin(std::move(one.ready));
    UpdateMark();
  }
}

bool Controller::RunScheduled(Scheduled& one, std::int64_t now_ns) {
  absl::Status can;
  if (one.ready == nullptr) {
    can = MakeReady(one);
    // The clock has moved meanwhile.
    if (can.ok() && one.next_ns > clock_->Now().boottime_ns) return true;
    // Another fault that is over by then may still be in the way.
    const std::int64_t start_ns = one.state.start_boottime_ns();
    const bool may_change =
        absl::IsUnavailable(can) || !OthersOf(one.state.spec(), false, start_ns).before.empty();
    if (!can.ok() && may_change && now_ns < start_ns) {
      one.next_ns = std::min(start_ns, now_ns + kPlanRetryNs);
      return true;
    }
  }
  // The lease or a stop condition may have changed its mind since it was made ready.
  if (can.ok()) can = StillWanted(one.state);
  if (can.ok()) can = one.ready->CheckBefore();
  if (can.ok() && clock_->Now().boottime_ns >= one.state.deadline_boottime_ns()) {
    can = absl::FailedPreconditionError("its end was over before it could begin");
  }
  if (can.ok()) return false;
  Cancel(one, std::string(can.message()));
  one.ready = nullptr;
  return false;
}

absl::Status Controller::StillWanted(const v1::FaultState& state) const {
  const FaultType* type = FindFaultType(state.spec().type());
  if (type == nullptr) return absl::OkStatus();
  return CheckWanted(*type, state.leased(), clock_->Now().boottime_ns);
}

// From now on a death of this process needs an undo.
absl::Status Controller::MakeReady(Scheduled& one) {
  const v1::FaultState& state = one.state;
  if (absl::Status wanted = StillWanted(state); !wanted.ok()) return wanted;
  Others others = OthersOf(state.spec(), false, state.start_boottime_ns());
  // What is still there changes what would be planned.
  others.beside.insert(others.beside.end(), others.before.begin(), others.before.end());
  others.before.clear();
  absl::StatusOr<std::unique_ptr<Injection>> planned =
      Injection::Plan(host_, clock_, state.spec(), {CommandOf(state), state.start_boottime_ns()},
                      guard_, others, Exempt());
  if (!planned.ok()) return planned.status();
  // A process is named by its number, which may be another's by now.
  if (absl::Status same = (*planned)->HoldProcess(one.process_start); !same.ok()) return same;
  if ((*planned)->state().cgroup() != state.cgroup()) {
    return absl::FailedPreconditionError(
        absl::StrCat("its target was in control group ", state.cgroup(),
                     " when it was accepted, and is in ", (*planned)->state().cgroup(), " now"));
  }
  (*planned)->SetBoot(options_.boot_id);
  (*planned)->SetLeased(state.leased());
  if (absl::Status saved = Record(**planned); !saved.ok()) return saved;
  one.ready = std::move(*planned);
  one.next_ns = state.start_boottime_ns();
  return absl::OkStatus();
}

v1::FaultState Controller::Cancel(const Scheduled& one, const std::string& reason) {
  CloseUnbegun(one.state, reason);
  return finished_.back();
}

std::vector<v1::FaultState> Controller::CancelAll(const std::string& reason) {
  std::vector<v1::FaultState> refused;
  for (const Scheduled& one : scheduled_) refused.push_back(Cancel(one, reason));
  scheduled_.clear();
  return refused;
}

void Controller::CloseUnbegun(v1::FaultState state, const std::string& reason) {
  state = WithoutChanges(state);
  state.set_phase(v1::PHASE_REFUSED);
  state.set_reason(reason);
  // It was told as one to come, perhaps long ago: this is when that ended.
  const Instant now = clock_->Now();
  const bool same = state.boot_id() == options_.boot_id;
  const v1::Edge& commanded = state.edges().commanded();
  const std::int64_t since_ns = now.realtime_ns - commanded.realtime_ns();
  v1::Edge* undone = state.mutable_edges()->mutable_undone();
  undone->set_realtime_ns(now.realtime_ns);
  undone->set_boottime_ns(same ? now.boottime_ns
                               : commanded.boottime_ns() + std::max<std::int64_t>(0, since_ns));
  LogFault(Event::kFaultRefused, state, "refused");
  SaveAndTell(state);
  Finish(std::move(state));
}

}  // namespace faultline
