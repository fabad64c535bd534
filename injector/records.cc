// SPDX-License-Identifier: Apache-2.0
//
// What is kept and told of a fault: its row in the journal, the mark that one is open, and the
// watchers.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "injector/controller.h"
#include "proto/words.h"

namespace faultline {

void Controller::UpdateMark() {
  const bool ready = std::any_of(scheduled_.begin(), scheduled_.end(),
                                 [](const Scheduled& one) { return one.ready != nullptr; });
  MarkOpen(ready || !active_.empty());
}

void Controller::MarkOpen(bool open) {
  if (options_.open_mark.empty() || open == marked_) return;
  if (!open) {
    ::unlink(options_.open_mark.c_str());
  } else if (const int fd = ::open(options_.open_mark.c_str(), O_CREAT | O_CLOEXEC, 0600);
             fd >= 0) {
    ::close(fd);
  } else {
    // The other triggers of an undo stay.
    LogWarning(ErrnoStatus(errno, absl::StrCat("make ", options_.open_mark)).message());
    return;
  }
  marked_ = open;
}

void Controller::Save(const v1::FaultState& state) {
  // The row that is needed to undo stands already; this one only loses detail, unless it closes it.
  const absl::Status saved = journal_->Save(state);
  if (saved.ok()) return;
  LogError("fault ", state.spec().id(), ": ", saved.message());
  if (!IsFinal(state.phase())) return;
  unclosed_.push_back(state);
  next_close_ns_ = clock_->Now().boottime_ns + kUndoRetryNs;
}

absl::Status Controller::CloseRows() {
  while (!unclosed_.empty()) {
    if (absl::Status saved = journal_->Save(unclosed_.front()); !saved.ok()) {
      next_close_ns_ = clock_->Now().boottime_ns + kUndoRetryNs;
      return saved;
    }
    LogInfo("fault ", unclosed_.front().spec().id(), ": its end is in the journal now");
    unclosed_.pop_front();
  }
  next_close_ns_ = kNever;
  return absl::OkStatus();
}

void Controller::KeepUnsaved() {
  const std::vector<v1::FaultState> states = std::exchange(unsaved_, {});
  // What cannot be written together is tried one by one.
  if (states.size() < 2 || !journal_->Save(states).ok()) {
    for (const v1::FaultState& state : states) Save(state);
  }
  for (const v1::FaultState& state : states) Tell(state);
}

void Controller::SaveAndTell(const v1::FaultState& state) {
  Save(state);
  Tell(state);
}

void Controller::Tell(const v1::FaultState& state) {
  for (const auto& [id, watcher] : watches_) watcher(state);
}

}  // namespace faultline
