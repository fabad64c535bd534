// SPDX-License-Identifier: Apache-2.0
//
// How faults end: stopped, halted, at the end of the service or their own, in the order in which
// one may stand on another.
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/event.h"
#include "injector/controller.h"
#include "injector/fault_log.h"
#include "proto/words.h"

namespace faultline {
namespace {

Event EndOf(const v1::FaultState& state) {
  const v1::Phase phase = state.phase();
  if (state.hold() && phase == v1::PHASE_UNDONE) return Event::kHoldEnded;
  if (phase == v1::PHASE_FAILED) return Event::kFaultFailed;
  return phase == v1::PHASE_INTERFERED ? Event::kFaultInterfered : Event::kFaultUndone;
}

}  // namespace

absl::StatusOr<v1::FaultState> Controller::Stop(const std::string& id) {
  const absl::MutexLock lock(&mutex_);
  return StopLocked(id);
}

void Controller::Stop(const std::string& id, Answer answer) {
  const absl::MutexLock lock(&mutex_);
  AnswerTo(std::move(answer), StopLocked(id), false);
}

absl::StatusOr<v1::FaultState> Controller::StopLocked(const std::string& id) {
  for (Active& active : active_) {
    if (active.injection->id() != id) continue;
    End(active, v1::PHASE_UNDONE, "stopped");
    v1::FaultState state = active.injection->state();
    DropFinished();
    Wake();
    return state;
  }
  for (auto one = scheduled_.begin(); one != scheduled_.end(); ++one) {
    if (one->state.spec().id() != id) continue;
    v1::FaultState state = Cancel(*one, "stopped before it began");
    scheduled_.erase(one);
    UpdateMark();
    Wake();
    return state;
  }
  if (const v1::FaultState* known = Find(id); known != nullptr) return *known;
  return absl::NotFoundError(absl::StrCat("there is no fault ", id, " on this host"));
}

bool Controller::EndAll(const std::string& reason) {
  const absl::MutexLock lock(&mutex_);
  closed_ = reason;
  EndEach(reason);
  AnswerSettled();
  (void)CloseRows();
  return active_.empty();
}

std::vector<v1::FaultState> Controller::EndEach(const std::string& reason) {
  std::vector<v1::FaultState> ended;
  // The newest first, and what is held last: it may stand on what an older one changed.
  for (const bool hold : {false, true}) {
    for (auto active = active_.rbegin(); active != active_.rend(); ++active) {
      if (active->injection->state().hold() != hold) continue;
      End(*active, v1::PHASE_UNDONE, reason);
      ended.push_back(active->injection->state());
    }
  }
  DropFinished();
  // What has not begun can wait for its commits.
  for (v1::FaultState& refused : CancelAll(reason)) ended.push_back(std::move(refused));
  UpdateMark();
  Wake();
  return ended;
}

void Controller::End(Active& active, v1::Phase final, const std::string& reason) {
  const bool first = active.next_undo_ns == 0;
  if (first && BeginEnd(*active.injection, final, reason)) KeepUnsaved();
  GoOnEnding(active, first);
}

bool Controller::BeginEnd(Injection& injection, v1::Phase final, const std::string& reason) {
  if (injection.applying() && final == v1::PHASE_UNDONE) {
    final = v1::PHASE_FAILED;
    injection.BeginUndo(final, absl::StrCat(reason.empty() ? "its deadline was over" : reason,
                                            " before it was in force"));
  } else {
    injection.BeginUndo(final, reason);
  }
  if (!injection.recovered() && final == v1::PHASE_UNDONE) {
    Tell(injection.state());
    return false;
  }
  unsaved_.push_back(injection.state());
  return true;
}

void Controller::GoOnEnding(Active& active, bool first) {
  Injection& injection = *active.injection;
  std::int64_t settle_of_needed_ns = 0;
  const std::string needed = WaitsFor(injection, &settle_of_needed_ns);
  if (needed.empty() ? injection.Undo() : injection.PutOff(needed, settle_of_needed_ns)) {
    LogFault(EndOf(injection.state()), injection.state(), PhaseWord(injection.state().phase()));
    KeepLater(injection.state());
    return;
  }
  const std::int64_t settle_ns = injection.settle_ns();
  active.next_undo_ns = clock_->Now().boottime_ns + (settle_ns > 0 ? settle_ns : kUndoRetryNs);
  // In the journal it is no fault that let its deadline pass.
  if (first) KeepLater(injection.state());
  if (settle_ns > 0 || std::exchange(active.told_delay, true)) return;
  LogEvent(Event::kUndoDelayed,
           {{kFaultIdField, injection.id()},
            {kFaultTypeField, injection.state().spec().type()},
            {kReasonField, injection.state().residue(0)}},
           NounOf(injection.state()), " ", injection.id(),
           " is not undone yet: ", injection.state().residue(0));
  if (!first) KeepLater(injection.state());
}

std::string Controller::WaitsFor(const Injection& injection, std::int64_t* settle_ns) {
  const v1::FaultState& state = injection.state();
  if (!state.hold()) return "";
  const auto order = [](const v1::FaultState& of) {
    return std::make_pair(of.edges().commanded().boottime_ns(), of.spec().id());
  };
  std::vector<const v1::FaultState*> newer;
  for (const Active& active : active_) {
    const v1::FaultState& other = active.injection->state();
    // Of two holds only the newer can need the older, or they would wait for each other. No fault
    // is older.
    const bool later = !other.hold() || order(other) > order(state);
    if (!IsFinal(other.phase()) && later) newer.push_back(&other);
  }
  const v1::FaultState* on = Guard::StandsOn(state, newer);
  if (on == nullptr) return "";
  for (const Active& active : active_) {
    const bool ends = active.next_undo_ns != 0 && active.injection->id() == on->spec().id();
    if (ends) *settle_ns = active.injection->settle_ns();
  }
  return absl::StrCat("it ends after ", NounOf(*on), " ", on->spec().id(), " (", on->spec().type(),
                      " on ", on->cgroup(), "), which needs what it holds");
}

void Controller::Finish(v1::FaultState state) {
  if (const std::optional<Taken> taken = TakenBy(state)) taken_.Add(*taken);
  finished_.push_back(std::move(state));
  while (finished_.size() > Journal::kKept) finished_.pop_front();
}

void Controller::DropFinished() {
  KeepUnsaved();
  for (auto active = active_.begin(); active != active_.end();) {
    if (!IsFinal(active->injection->state().phase())) {
      ++active;
      continue;
    }
    Finish(active->injection->state());
    active = active_.erase(active);
  }
  UpdateMark();
}

}  // namespace faultline
