// SPDX-License-Identifier: Apache-2.0
//
// The controller's time: what is due when, and the thread that waits for it.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "injector/controller.h"

namespace faultline {
namespace {

// Read-back: how long a foreign change, or the end of the target, can go unseen.
constexpr std::int64_t kVerifyNs = 250 * kNsPerMs;
// Commits: how much of what was done is forgotten if this process dies and nothing else kept it.
constexpr std::int64_t kSaveNs = kNsPerSecond;
// The first touch is an edge of the label, so it is looked for often at first.
constexpr std::int64_t kFirstTouchPollNs = 10 * kNsPerMs;
constexpr std::int64_t kFirstTouchWatchNs = 10 * kNsPerSecond;
constexpr std::int64_t kMeasureNs = 100 * kNsPerMs;
// Of a caller, for a beginning or an end that takes time; it goes on after that.
constexpr std::int64_t kLongestWaitNs = 5 * kNsPerSecond;
// Who comes when so many wait is told at once what is so.
constexpr size_t kMostWaiting = 64;

}  // namespace

void Controller::ScheduleNext(Active& active, std::int64_t now_ns) {
  const v1::FaultState& state = active.injection->state();
  const bool untouched = state.edges().first_touch().boottime_ns() == 0;
  const bool young = now_ns - state.edges().acked().boottime_ns() < kFirstTouchWatchNs;
  if (state.hold()) {
    // Nothing to measure, and nothing to save before it ends: only the read-back.
    active.next_measure_ns = kNever;
    active.next_save_ns = kNever;
  }
  if (active.next_measure_ns <= now_ns) {
    active.next_measure_ns =
        now_ns + (untouched && young && !state.sham() ? kFirstTouchPollNs : kMeasureNs);
  }
  if (active.next_verify_ns <= now_ns) active.next_verify_ns = now_ns + kVerifyNs;
  if (active.next_save_ns <= now_ns) active.next_save_ns = now_ns + kSaveNs;
}

std::int64_t Controller::NextDueOf(const Active& active) {
  if (active.next_undo_ns != 0) return active.next_undo_ns;
  if (active.next_apply_ns != 0) {
    return std::min(active.injection->state().deadline_boottime_ns(), active.next_apply_ns);
  }
  const std::int64_t step_ns = active.injection->active() ? active.injection->NextStep() : kNever;
  return std::min({active.injection->state().deadline_boottime_ns(), active.next_measure_ns,
                   active.next_verify_ns, active.next_save_ns, step_ns});
}

std::int64_t Controller::NextDue() {
  const absl::MutexLock lock(&mutex_);
  return NextDueLocked();
}

std::int64_t Controller::NextDueLocked() {
  std::int64_t next = std::min(next_close_ns_, NextGuardDue());
  for (const Active& active : active_) next = std::min(next, NextDueOf(active));
  for (const Scheduled& one : scheduled_) next = std::min(next, one.next_ns);
  // Who waits for what somebody else has ended meanwhile is told at once.
  for (const Waiting& one : waiting_) next = std::min(next, Settles(one.id) ? one.until_ns : 0);
  return next;
}

void Controller::RunDue() {
  const absl::MutexLock lock(&mutex_);
  const std::int64_t now_ns = clock_->Now().boottime_ns;
  // Deadlines before anything that can wait.
  for (auto active = active_.rbegin(); active != active_.rend(); ++active) {
    if (active->next_undo_ns == 0 && active->injection->state().deadline_boottime_ns() <= now_ns) {
      End(*active, v1::PHASE_UNDONE, "");
    }
  }
  DropFinished();
  // Before anything begins that this host does not want.
  RunGuard(now_ns);
  DropFinished();
  RunSchedule(now_ns);
  for (Active& active : active_) RunDueOf(active, now_ns);
  DropFinished();
  AnswerSettled();
  // What fails is tried again; the first failure was told.
  if (next_close_ns_ <= now_ns) (void)CloseRows();
}

void Controller::RunDueOf(Active& active, std::int64_t now_ns) {
  if (active.next_undo_ns != 0) {
    if (active.next_undo_ns <= now_ns) End(active, v1::PHASE_UNDONE, "");
    return;
  }
  if (active.next_apply_ns != 0) {
    // What fails is told as the fault's end.
    if (active.next_apply_ns <= now_ns) (void)Advance(active);
    return;
  }
  if (!active.injection->active()) return;
  absl::Status moved = active.injection->Step();
  const bool moving = active.injection->moving();
  if (moving && absl::IsUnavailable(moved)) moved = absl::OkStatus();
  if (!moved.ok() && !absl::IsNotFound(moved) && !absl::IsAborted(moved)) {
    End(active, v1::PHASE_FAILED, std::string(moved.message()));
    return;
  }
  const bool look = moved.ok() && !moving && active.next_verify_ns <= now_ns;
  const absl::Status held = look ? active.injection->Verify() : moved;
  if (absl::IsNotFound(held)) {
    End(active, v1::PHASE_INTERFERED, absl::StrCat("the target ended: ", held.message()));
    return;
  }
  if (!held.ok()) {
    End(active, v1::PHASE_INTERFERED, std::string(held.message()));
    return;
  }
  if (active.next_save_ns <= now_ns) {
    active.injection->Measure();
    Save(active.injection->state());
  }
  if (active.next_measure_ns <= now_ns) MeasureNow(*active.injection);
  ScheduleNext(active, now_ns);
}

bool Controller::Settles(const std::string& id) const {
  return std::any_of(active_.begin(), active_.end(), [&id](const Active& active) {
    return active.injection->id() == id && active.injection->settle_ns() > 0;
  });
}

bool Controller::Idle() {
  const absl::MutexLock lock(&mutex_);
  return active_.empty();
}

bool Controller::Settling() {
  const absl::MutexLock lock(&mutex_);
  return std::any_of(active_.begin(), active_.end(),
                     [](const Active& active) { return active.injection->settle_ns() > 0; });
}

void Controller::AnswerTo(Answer answer, absl::StatusOr<v1::FaultState> now, bool start) {
  if (!now.ok() || !Settles(now->spec().id()) || !closed_.empty() ||
      waiting_.size() >= kMostWaiting) {
    answer(std::move(now));
    return;
  }
  waiting_.push_back(
      {now->spec().id(), std::move(answer), clock_->Now().boottime_ns + kLongestWaitNs, start});
  Wake();
}

void Controller::AnswerSettled() {
  const std::int64_t now_ns = clock_->Now().boottime_ns;
  for (auto one = waiting_.begin(); one != waiting_.end();) {
    if (closed_.empty() && one->until_ns > now_ns && Settles(one->id)) {
      ++one;
      continue;
    }
    absl::StatusOr<v1::FaultState> answer =
        absl::NotFoundError(absl::StrCat("fault ", one->id, " is not known any more"));
    if (const v1::FaultState* const state = Find(one->id); state != nullptr) answer = *state;
    if (answer.ok() && one->start && answer->ending() == v1::PHASE_FAILED) {
      answer = absl::FailedPreconditionError(answer->reason());
    }
    one->answer(std::move(answer));
    one = waiting_.erase(one);
  }
}

void Controller::MeasureNow(Injection& injection) {
  if (injection.Measure()) SaveAndTell(injection.state());
}

void Controller::Wake() { wake_.request_stop(); }

void Controller::Loop(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    std::stop_token woken;
    std::int64_t next = kNever;
    {
      const absl::MutexLock lock(&mutex_);
      wake_ = std::stop_source();
      woken = wake_.get_token();
      next = NextDueLocked();
    }
    // The destructor may have asked between the loop's condition and the new source.
    if (stop.stop_requested()) return;
    if (clock_->WaitUntil(next, woken)) RunDue();
  }
}

}  // namespace faultline
