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
namespace {

// What is undone meanwhile is not known to whoever comes after a death.
constexpr std::int64_t kTogetherNs = 100 * kNsPerMs;

}  // namespace

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

void Controller::Save(const v1::FaultState& state) { SaveEach(absl::MakeConstSpan(&state, 1)); }

void Controller::SaveEach(absl::Span<const v1::FaultState> states) {
  // The row that is needed to undo stands already; this one only loses detail, unless it closes it.
  const absl::Status saved = journal_->Save(states);
  if (saved.ok()) return;
  for (const v1::FaultState& state : states) {
    LogError("fault ", state.spec().id(), ": ", saved.message());
    if (!IsFinal(state.phase())) continue;
    unclosed_.push_back(state);
    next_close_ns_ = clock_->Now().boottime_ns + kUndoRetryNs;
  }
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
  if (unsaved_.empty()) return;
  const std::vector<v1::FaultState> states = std::exchange(unsaved_, {});
  SaveEach(states);
  for (const v1::FaultState& state : states) Tell(state);
}

void Controller::KeepLater(const v1::FaultState& state) {
  const std::int64_t now_ns = clock_->Now().boottime_ns;
  if (unsaved_.empty()) unsaved_since_ns_ = now_ns;
  unsaved_.push_back(state);
  // A journal that cannot be written is not waited for again before all has ended.
  if (now_ns - unsaved_since_ns_ > kTogetherNs && unclosed_.empty()) KeepUnsaved();
}

void Controller::SaveAndTell(const v1::FaultState& state) {
  Save(state);
  Tell(state);
}

void Controller::Tell(const v1::FaultState& state) {
  for (const auto& [id, watcher] : watches_) watcher(state);
}

}  // namespace faultline
