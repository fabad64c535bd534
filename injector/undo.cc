// SPDX-License-Identifier: Apache-2.0
//
// The end of a fault: its levers are restored, and what is told of it afterwards is true, whether
// it ended under this process or was left by one that died.
#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "injector/injection.h"

namespace faultline {
namespace {

constexpr absl::string_view kDied = "the injector died";

}  // namespace

std::int64_t LastSignNs(const v1::FaultState& state) {
  const v1::Edges& edges = state.edges();
  return std::max({edges.commanded().boottime_ns(), edges.acked().boottime_ns(),
                   edges.first_touch().boottime_ns(), edges.last_touch().boottime_ns(),
                   state.read_boottime_ns()});
}

std::string LowerBound(const v1::FaultState& state, std::int64_t end_ns, absl::string_view why,
                       absl::string_view what) {
  if (state.sham()) return "";
  if (state.read_boottime_ns() == 0) {
    return what.empty() ? absl::StrCat("its dose is not known: it was never read, and ", why)
                        : absl::StrCat(what, " are not known: they were never read, and ", why);
  }
  const absl::Duration unread =
      absl::Nanoseconds(std::max<std::int64_t>(0, end_ns - state.read_boottime_ns()));
  const std::string before =
      absl::StrCat("of at most ", absl::FormatDuration(absl::Ceil(unread, absl::Milliseconds(1))),
                   " before the end: ", why);
  return what.empty() ? absl::StrCat("its dose is a lower bound, ", before)
                      : absl::StrCat("its dose is exact but for ", what, ", which are ", before);
}

// As many as can be made: what one of them cannot undo is no reason to leave the others.
absl::Status Injection::MakeLevers() {
  absl::Status first;
  for (size_t i = 0; i < levers_.size(); ++i) {
    if (levers_[i] != nullptr) continue;
    LeverOr lever = host_->Recover(state_.changes(static_cast<int>(i)));
    if (lever.ok()) {
      levers_[i] = std::move(*lever);
    } else if (first.ok()) {
      first = lever.status();
    }
  }
  return first;
}

Injection::Hold Injection::InForce() const {
  Hold hold = Hold::kNo;
  for (const std::unique_ptr<Lever>& lever : levers_) {
    const absl::Status status =
        lever == nullptr ? absl::UnavailableError("not made yet") : lever->Verify();
    if (status.ok()) return Hold::kYes;
    if (!absl::IsAborted(status) && !absl::IsNotFound(status)) hold = Hold::kUnknown;
  }
  return hold;
}

void Injection::BeginUndo(v1::Phase final, const std::string& reason) {
  if (state_.ending() == v1::PHASE_UNSPECIFIED) state_.set_ending(final);
  const std::string& before = state_.reason();
  const bool died_since = recovered_ && !absl::StrContains(before, kDied);
  if (before.empty() || died_since) {
    state_.set_reason(absl::StrCat(before, before.empty() ? "" : "; then ", reason));
  }
  if (recovered_) {
    // Without them there is nothing to measure; Undo makes them, or tells what is in the way.
    [[maybe_unused]] const absl::Status made = MakeLevers();
  }
  const bool over = recovered_ && InForce() == Hold::kNo;
  Measure();
  // Nothing can come after that: what was read now is all, also if this process dies too.
  if (over && fault_ != nullptr && missing_.empty()) state_.set_dose_complete(true);
  SetPhase(v1::PHASE_UNDOING);
}

std::int64_t Injection::Quiesce() {
  std::int64_t longest_ns = 0;
  // As they are restored: what leads into a queue goes on before the queue is let go.
  for (auto lever = levers_.rbegin(); lever != levers_.rend(); ++lever) {
    if (*lever == nullptr) continue;
    const absl::StatusOr<std::int64_t> one = (*lever)->Quiesce();
    // What cannot end gently still ends.
    if (one.ok()) longest_ns = std::max(longest_ns, *one);
  }
  return longest_ns;
}

// False: some lever could not be restored for now. Each is tried, whatever happened to the others.
bool Injection::RestoreAll(bool* interfered) {
  state_.clear_residue();
  if (absl::Status status = MakeLevers(); !status.ok()) {
    state_.add_residue(std::string(status.message()));
  }
  bool done = true;
  for (auto lever = levers_.rbegin(); lever != levers_.rend(); ++lever) {
    if (*lever == nullptr) {
      done = false;
      continue;
    }
    const absl::Status restored = (*lever)->Restore();
    const std::int64_t wait_ns = restored.ok() ? 0 : (*lever)->wait_ns();
    if (wait_ns > 0) settle_ns_ = settle_ns_ > 0 ? std::min(settle_ns_, wait_ns) : wait_ns;
    const absl::Status residue = (*lever)->Residue();
    if (absl::IsAborted(restored)) {
      *interfered = true;
      state_.add_residue(std::string(restored.message()));
      continue;
    }
    if (!restored.ok()) state_.add_residue(std::string(restored.message()));
    if (!residue.ok()) state_.add_residue(std::string(residue.message()));
    done = done && restored.ok() && residue.ok();
  }
  return done;
}

// What outlived its process was in force until an attempt to undo found and ended it. What ended
// with its process was over some time after the last sign of life, and by then at the latest when
// its levers say that it must have been.
Ended Injection::EndOfRecovered(std::int64_t end_ns) const {
  if (held_until_.latest_ns != 0) return held_until_;
  Ended ended{alive_ns_, alive_ns_};
  for (const std::unique_ptr<Lever>& lever : levers_) {
    const Ended one = unsure_ ? Ended{} : lever->OverBy(state_.deadline_boottime_ns());
    ended.earliest_ns = std::max(ended.earliest_ns, one.earliest_ns);
    ended.latest_ns = std::max(ended.latest_ns, std::min(one.latest_ns, end_ns));
  }
  return ended;
}

void Injection::StampUndone(std::int64_t begin_ns, const Instant& end) {
  Ended ended{lost_ && held_ns_ != 0 ? held_ns_ : begin_ns, end.boottime_ns};
  if (recovered_) ended = EndOfRecovered(end.boottime_ns);
  v1::Edges* edges = state_.mutable_edges();
  // A touch that a kernel program stamped is exact; one that was seen by reading is not later than
  // the end at which the reading found it.
  const std::int64_t stamped_ns =
      std::max({edges->commanded().boottime_ns(), edges->acked().boottime_ns(), ended.earliest_ns});
  const std::int64_t last_ns = std::max(ended.latest_ns, stamped_ns);
  for (v1::Edge* touch : {edges->mutable_first_touch(), edges->mutable_last_touch()}) {
    if (touch->boottime_ns() <= last_ns) continue;
    Stamp(touch, end, last_ns, touch->error_ns());
  }
  const std::int64_t first_ns =
      std::min(last_ns, std::max(ended.earliest_ns, edges->last_touch().boottime_ns()));
  Stamp(edges->mutable_undone(), end, last_ns, last_ns - first_ns);
}

void Injection::SayWhatIsMissing() {
  if (state_.dose_complete()) return;
  if (fault_ == nullptr) missing_ = "this version of the injector does not know the fault";
  if (missing_.empty()) {
    state_.set_dose_complete(true);
    return;
  }
  const std::string bound =
      LowerBound(state_, state_.edges().undone().boottime_ns(), missing_, missing_what_);
  const bool both = !state_.reason().empty() && !bound.empty();
  state_.set_reason(absl::StrCat(state_.reason(), both ? "; " : "", bound));
}

bool Injection::PutOff(const std::string& why, std::int64_t settle_ns) {
  settle_ns_ = settle_ns;
  state_.clear_residue();
  state_.add_residue(why);
  return false;
}

bool Injection::Undo() {
  const std::int64_t begin_ns = clock_->Now().boottime_ns;
  const Hold hold = recovered_ ? InForce() : Hold::kYes;
  bool interfered = false;
  const std::int64_t quiesce_ns = Quiesce();
  settle_ns_ = 0;
  const bool done = quiesce_ns == 0 ? RestoreAll(&interfered)
                                    : PutOff("what it held back is still on its way", quiesce_ns);
  // The first attempt may have ended what a later one finds ended.
  if (quiesce_ns == 0 && restoring_ns_ == 0) restoring_ns_ = begin_ns;
  const Instant end = clock_->Now();
  if (hold == Hold::kYes) {
    held_until_ = {begin_ns, end.boottime_ns};
  } else if (held_open_) {
    held_until_.latest_ns = begin_ns;
  }
  held_open_ = hold == Hold::kYes && !done;
  unsure_ = unsure_ || hold == Hold::kUnknown;
  if (!done) return false;
  // What came in between the last measurement and the end.
  Measure();
  StampUndone(restoring_ns_, end);
  SetPhase(state_.ending());
  if (interfered && state_.ending() != v1::PHASE_FAILED) {
    SetPhase(v1::PHASE_INTERFERED);
    if (state_.reason().empty()) state_.set_reason(state_.residue(0));
  }
  SayWhatIsMissing();
  if (state_.phase() == v1::PHASE_INTERFERED) state_.set_verdict(v1::VERDICT_INTERFERED);
  return true;
}

}  // namespace faultline
