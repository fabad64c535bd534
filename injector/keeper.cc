// SPDX-License-Identifier: Apache-2.0
#include "injector/keeper.h"

#include <unistd.h>

#include <cerrno>
#include <stop_token>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/event.h"
#include "base/log.h"
#include "base/open_mark.h"
#include "injector/host/process.h"
#include "injector/journal.h"
#include "injector/lease.h"

namespace faultline {
namespace {

constexpr std::int64_t kLookNs = 500 * kNsPerMs;

// The injector, and not a process that has its number by now: it still holds the lock after the
// descriptor was opened.
void EndInjector(const std::string& state_dir) {
  const pid_t pid = StateLock::Injector(state_dir);
  if (pid == 0) return;
  const Descriptor process(PidfdOpen(pid));
  if (!process.valid() || StateLock::Injector(state_dir) != pid) return;
  LogEvent(Event::kInjectorEnded, {{kPidField, absl::StrCat(pid)}}, "the injector, process ", pid,
           ", let a deadline or the end of its lease pass and is ended");
  if (PidfdKill(process.get()) != 0) {
    LogError("end process ", pid, ": errno ", errno);
  }
}

}  // namespace

Keeper::Keeper(std::string state_dir, const std::string& run_dir, std::string boot_id, Clock* clock)
    : state_dir_(std::move(state_dir)),
      mark_(OpenMark(run_dir)),
      term_file_(Lease::TermFile(run_dir)),
      boot_id_(std::move(boot_id)),
      clock_(clock) {}

bool Keeper::IsOverdue(std::int64_t now_ns) {
  const absl::StatusOr<std::int64_t> deadline =
      Journal::FirstDeadline(Journal::PathIn(state_dir_), boot_id_, Lease::ReadTerm(term_file_));
  const bool late = deadline.ok() && *deadline < now_ns - kGraceNs;
  overdue_looks_ = late ? overdue_looks_ + 1 : 0;
  return overdue_looks_ >= 2;
}

absl::StatusOr<std::optional<StateLock>> Keeper::WaitForTurn() {
  while (::access(mark_.c_str(), F_OK) == 0) {
    absl::StatusOr<StateLock> lock = StateLock::TryTake(state_dir_, StateLock::Role::kUndo);
    if (lock.ok()) return std::optional<StateLock>(std::move(*lock));
    if (!absl::IsUnavailable(lock.status())) return lock.status();
    const std::int64_t now_ns = clock_->Now().boottime_ns;
    if (IsOverdue(now_ns)) EndInjector(state_dir_);
    clock_->WaitUntil(now_ns + kLookNs, std::stop_token());
  }
  return std::optional<StateLock>();
}

void Keeper::Rest(const std::string& state_dir, const std::string& run_dir, Clock* clock) {
  const std::string mark = OpenMark(run_dir);
  const std::int64_t end_ns = clock->Now().boottime_ns + kRestNs;
  while (clock->Now().boottime_ns < end_ns && ::access(mark.c_str(), F_OK) == 0 &&
         StateLock::Injector(state_dir) == 0) {
    clock->WaitUntil(clock->Now().boottime_ns + kLookNs, std::stop_token());
  }
}

}  // namespace faultline
