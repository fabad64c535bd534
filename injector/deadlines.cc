// SPDX-License-Identifier: Apache-2.0
//
// The controller's time: what is due when, and the thread that waits for it.
#include <algorithm>

#include "absl/strings/str_cat.h"
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
  return std::min({active.injection->state().deadline_boottime_ns(), active.next_measure_ns,
                   active.next_verify_ns, active.next_save_ns});
}

std::int64_t Controller::NextDue() {
  const absl::MutexLock lock(&mutex_);
  return NextDueLocked();
}

std::int64_t Controller::NextDueLocked() {
  std::int64_t next = next_close_ns_;
  for (const Active& active : active_) next = std::min(next, NextDueOf(active));
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
  for (Active& active : active_) RunDueOf(active, now_ns);
  DropFinished();
  // What fails is tried again; the first failure was told.
  if (next_close_ns_ <= now_ns) (void)CloseRows();
}

void Controller::RunDueOf(Active& active, std::int64_t now_ns) {
  if (active.next_undo_ns != 0) {
    if (active.next_undo_ns <= now_ns) End(active, v1::PHASE_UNDONE, "");
    return;
  }
  if (!active.injection->active()) return;
  if (active.next_verify_ns <= now_ns) {
    const absl::Status held = active.injection->Verify();
    if (absl::IsNotFound(held)) {
      End(active, v1::PHASE_INTERFERED, absl::StrCat("the target ended: ", held.message()));
      return;
    }
    if (!held.ok()) {
      End(active, v1::PHASE_INTERFERED, std::string(held.message()));
      return;
    }
  }
  if (active.next_save_ns <= now_ns) {
    active.injection->Measure();
    Save(active.injection->state());
  }
  if (active.next_measure_ns <= now_ns) MeasureNow(*active.injection);
  ScheduleNext(active, now_ns);
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
