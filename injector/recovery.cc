// SPDX-License-Identifier: Apache-2.0
//
// What an earlier process left: every open row of the journal is undone before anything new starts.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/event.h"
#include "base/log.h"
#include "base/status.h"
#include "injector/controller.h"
#include "proto/words.h"

namespace faultline {
namespace {

// The newest sign of the fault, on both clocks.
v1::Edge LastSign(const v1::FaultState& state) {
  const v1::Edge& commanded = state.edges().commanded();
  v1::Edge last;
  last.set_boottime_ns(LastSignNs(state));
  last.set_realtime_ns(commanded.realtime_ns() - commanded.boottime_ns() + last.boottime_ns());
  return last;
}

}  // namespace

absl::Status Controller::Recover() {
  const absl::MutexLock lock(&mutex_);
  absl::StatusOr<std::vector<v1::FaultState>> rows = journal_->Load();
  if (!rows.ok()) return rows.status();
  const absl::StatusOr<std::vector<Taken>> taken = journal_->LoadTaken();
  if (!taken.ok()) return taken.status();
  for (const Taken& one : *taken) taken_.Add(one);
  complaints_ = journal_->complaints();
  for (const std::string& complaint : complaints_) LogError(complaint);
  for (const v1::FaultState& row : *rows) {
    if (IsFinal(row.phase())) finished_.push_back(row);
  }
  // The newest first, and what is held last: it may stand on what an older one changed.
  for (const bool hold : {false, true}) {
    for (auto row = rows->rbegin(); row != rows->rend(); ++row) {
      if (!IsFinal(row->phase()) && row->hold() == hold) RecoverRow(std::move(*row));
    }
  }
  KeepUnsaved();
  for (Active& active : active_) GoOnEnding(active, true);
  for (const Active& active : active_) recovered_.push_back(active.injection->state());
  if (!recovered_.empty()) {
    LogEvent(Event::kJournalReplayed, {{kCountField, absl::StrCat(recovered_.size())}},
             recovered_.size(), " faults of an earlier injector were in the journal");
  }
  DropFinished();
  return absl::OkStatus();
}

void Controller::RecoverRow(v1::FaultState state) {
  // It had not begun, so there is nothing to undo, in this boot or in another.
  if (state.phase() == v1::PHASE_ACCEPTED) {
    CloseUnbegun(std::move(state), "the injector ended before its start");
    return;
  }
  if (state.boot_id() != options_.boot_id) {
    CloseAfterReboot(state);
    recovered_.push_back(state);
    Finish(std::move(state));
    return;
  }
  active_.push_back({.injection = Injection::Recover(host_, clock_, std::move(state))});
  BeginEnd(*active_.back().injection, v1::PHASE_UNDONE, "the injector died");
}

// Control group values, links, classes and helpers are the running kernel's: a new one has none of
// them. When the old one ended is known only to lie between the last sign of it and this boot.
void Controller::CloseAfterReboot(v1::FaultState& state) {
  const Instant now = clock_->Now();
  const v1::Edge last = LastSign(state);
  const std::int64_t booted = now.realtime_ns - now.boottime_ns;
  // A wall clock that was set back in between must not end a fault before it began.
  const std::int64_t unseen = std::max<std::int64_t>(0, booted - last.realtime_ns());
  v1::Edge* undone = state.mutable_edges()->mutable_undone();
  undone->set_boottime_ns(last.boottime_ns() + unseen);
  undone->set_realtime_ns(last.realtime_ns() + unseen);
  undone->set_error_ns(unseen);
  state.set_ended_with_boot(true);
  const bool ending = state.ending() != v1::PHASE_UNSPECIFIED;
  state.set_phase(ending ? state.ending() : v1::PHASE_UNDONE);
  if (state.phase() == v1::PHASE_INTERFERED) state.set_verdict(v1::VERDICT_INTERFERED);
  state.clear_residue();
  state.set_reason(absl::StrCat(state.reason(), state.reason().empty() ? "" : "; then ", "reboot"));
  if (!state.dose_complete() && !state.sham()) {
    absl::StrAppend(
        state.mutable_reason(), "; ",
        LowerBound(state, undone->boottime_ns(), "what counted it ended with the boot"));
  }
  SaveAndTell(state);
  LogEvent(state.hold() ? Event::kHoldEnded : Event::kFaultUndone,
           {{kFaultIdField, state.spec().id()},
            {kFaultTypeField, state.spec().type()},
            {kReasonField, state.reason()}},
           state.hold() ? "hold " : "fault ", state.spec().id(),
           " ended with the boot that it ran in");
}

}  // namespace faultline
