// SPDX-License-Identifier: Apache-2.0
//
// Whether this host wants a fault now, and whether it still does: the controller's lease, its stop
// conditions and the share of the hour.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/event.h"
#include "injector/controller.h"
#include "injector/hour_share.h"
#include "injector/limits.h"
#include "proto/words.h"

namespace faultline {

absl::StatusOr<v1::LeaseResponse> Controller::RenewLease(const v1::LeaseRequest& request) {
  // Without the mutex: a change of the host that takes long must not make the lease run out.
  return lease_.Renew(request, clock_->Now().boottime_ns);
}

std::vector<v1::PeerFilter> Controller::Exempt() const {
  std::vector<v1::PeerFilter> exempt = options_.exempt;
  const std::vector<v1::PeerFilter> collectors = lease_.collectors();
  exempt.insert(exempt.end(), collectors.begin(), collectors.end());
  return exempt;
}

v1::Limits Controller::LimitsNow() const {
  return DescribeLimits(options_.guard, options_.autonomous, Exempt(), stop_);
}

std::string Controller::WhyStopped(std::int64_t now_ns) const {
  const std::int64_t loss_ns = stop_.limits().loss_ns;
  if (loss_ns != 0 && lease_.heard_ns() != 0 && now_ns - lease_.heard_ns() > loss_ns) {
    return absl::StrCat(lease_.Silence(now_ns), ", which is above stop-loss ",
                        absl::FormatDuration(absl::Nanoseconds(loss_ns)));
  }
  return stop_.Holding();
}

absl::Status Controller::CheckWanted(const FaultType& type, bool leased,
                                     std::int64_t now_ns) const {
  // What a run holds disturbs nothing.
  if (type.hold) return absl::OkStatus();
  if (const std::string why = WhyStopped(now_ns); !why.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("this host takes no fault now: ", why, "; it does when that is over"));
  }
  if (!leased) return absl::OkStatus();
  constexpr absl::string_view kNeeds =
      "a fault that comes through agent.sock ends when the collector is gone, so it needs one";
  constexpr absl::string_view kElse =
      "; wait until this node's agent is connected, or let root inject it over root.sock, or set "
      "autonomous";
  if (lease_.heard_ns() == 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(kNeeds, ", and none was heard of since this injector started", kElse));
  }
  if (!lease_.InForce(now_ns)) {
    return absl::FailedPreconditionError(
        absl::StrCat(kNeeds, ", and ", lease_.Silence(now_ns), kElse));
  }
  if (type.peers && !lease_.knows_collector()) {
    return absl::FailedPreconditionError(absl::StrCat(
        type.name, " must not cut the node off its collector, and this node's agent has not told ",
        "by which address it is reached; let root inject it over root.sock, where the peers of ",
        "--exempt are spared"));
  }
  return absl::OkStatus();
}

absl::Status Controller::CheckShare(const v1::FaultState& state, const Instant& now) {
  taken_.Forget(now);
  std::vector<Interval> taken = taken_.At(now);
  for (const Active& active : active_) {
    taken.push_back(IntervalOf(active.injection->state(), now.boottime_ns));
  }
  for (const Scheduled& one : scheduled_) {
    if (one.state.spec().id() == state.spec().id()) continue;
    taken.push_back(IntervalOf(one.state, now.boottime_ns));
  }
  return CheckHourShare(options_.guard.max_hour_share, IntervalOf(state, now.boottime_ns), taken,
                        now);
}

std::int64_t Controller::NextGuardDue() const {
  std::int64_t next = kNever;
  bool faults = false;
  for (const Active& active : active_) {
    const v1::FaultState& state = active.injection->state();
    if (active.next_undo_ns != 0 || state.hold()) continue;
    faults = true;
    if (state.leased()) next = std::min(next, lease_.until_ns());
  }
  const bool looks = stop_.any() || stop_.limits().loss_ns != 0;
  return faults && looks ? std::min(next, next_look_ns_) : next;
}

int Controller::EndUnwanted(bool leased_only, const std::string& reason) {
  int ended = 0;
  for (auto active = active_.rbegin(); active != active_.rend(); ++active) {
    const v1::FaultState& state = active->injection->state();
    if (active->next_undo_ns != 0 || state.hold() || IsFinal(state.phase())) continue;
    if (leased_only && !state.leased()) continue;
    End(*active, v1::PHASE_UNDONE, reason);
    ++ended;
  }
  return ended;
}

void Controller::RunGuard(std::int64_t now_ns) {
  if (NextGuardDue() > now_ns) return;
  if (!lease_.InForce(now_ns)) {
    const std::string reason =
        absl::StrCat(lease_.Silence(now_ns), ", and it came through the collector");
    if (const int ended = EndUnwanted(true, reason); ended > 0) {
      LogEvent(Event::kLeaseLost, {{kCountField, absl::StrCat(ended)}}, lease_.Silence(now_ns),
               "; ", ended, ended == 1 ? " fault" : " faults", " that came through it ended");
    }
  }
  if (next_look_ns_ > now_ns) return;
  next_look_ns_ = now_ns + StopConditions::kEveryNs;
  const std::string why = WhyStopped(now_ns);
  if (why.empty()) return;
  if (const int ended = EndUnwanted(false, absl::StrCat("stopped by this host: ", why));
      ended > 0) {
    LogEvent(Event::kStopCondition, {{kReasonField, why}, {kCountField, absl::StrCat(ended)}},
             "stopped by this host: ", why, "; ", ended, ended == 1 ? " fault" : " faults",
             " ended, and none begins until that is over");
  }
}

}  // namespace faultline
