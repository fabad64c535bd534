// SPDX-License-Identifier: Apache-2.0
#include "collector/run_holds.h"

#include <algorithm>
#include <random>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/status.h"
#include "collector/fan_out.h"
#include "collector/routing.h"
#include "proto/words.h"

namespace faultline {
namespace {

using Results = std::vector<absl::StatusOr<v1::CommandResult>>;

constexpr char kHoldType[] = "hold.controllers";
constexpr std::int64_t kHourNs = 3600 * kNsPerSecond;
constexpr std::int64_t kDefaultHoldNs = 24 * kHourNs;
// The injector's own bound (kMaxHoldNs of injector/guard.h), said before any node is asked.
constexpr std::int64_t kLongestHoldNs = 7 * 24 * kHourNs;
// Letting go of what another was held for in vain.
constexpr std::chrono::seconds kEndTimeout{30};
// A node's clock and ours may differ that much, so an end that near to the run's is no early one.
constexpr std::int64_t kClockSlackNs = 2 * kNsPerSecond;
// Of the run's name in an id, which takes 64 letters, digits and '-'.
constexpr std::size_t kNameInId = 36;

// "hold-NAME-1-0f3a...": the random part makes a second try one of its own, as a node never starts
// an id twice.
std::string HoldId(const std::string& run, int number) {
  std::string name = run.substr(0, kNameInId);
  std::replace_if(
      name.begin(), name.end(), [](unsigned char c) { return !absl::ascii_isalnum(c); }, '-');
  std::random_device device;
  return absl::StrFormat("hold-%s-%d-%08x", name, number, device());
}

// "unit:nginx.service on edge-1".
std::string Spell(const v1::RunTarget& target) {
  return absl::StrCat(TargetText(target.target()), " on ", target.node());
}

std::vector<NodeCommand> StopsOf(const v1::Run& run) {
  std::vector<NodeCommand> commands;
  for (const v1::RunTarget& target : run.targets()) {
    v1::Command command;
    command.mutable_stop()->set_fault_id(target.hold_id());
    commands.push_back({target.node(), std::move(command)});
  }
  return commands;
}

std::string Until(std::int64_t realtime_ns) {
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::FromUnixNanos(realtime_ns),
                          absl::UTCTimeZone());
}

std::string HowToEnd(const v1::RunTarget& target) {
  return absl::StrCat("it ends at its deadline, or with `faultline stop ", target.hold_id(),
                      " --node ", target.node(), "`");
}

// What is to be said of a target whose hold was to end with the run.
void Judge(std::int64_t end_ns, const absl::StatusOr<v1::CommandResult>& result,
           v1::RunTarget* target) {
  if (!result.ok() || !result->has_stop()) {
    const std::string why(result.ok() ? "it answered something else than it was asked"
                                      : result.status().message());
    target->set_held(v1::HELD_UNKNOWN);
    target->set_remark(absl::StrCat("nobody knows whether it was held to the end: ", target->node(),
                                    ": ", why, "; if it stands, ", HowToEnd(*target)));
    return;
  }
  const v1::FaultState& state = result->stop();
  const std::int64_t undone_ns = state.edges().undone().realtime_ns();
  if (undone_ns != 0 && undone_ns < end_ns - kClockSlackNs) {
    target->set_held(v1::HELD_PART);
    target->set_remark(absl::StrCat("it was held until ", Until(undone_ns), " only: ",
                                    state.reason().empty() ? "its time was over" : state.reason()));
    return;
  }
  target->set_held(v1::HELD_ALL);
  if (state.residue().empty()) return;
  const std::string residue = absl::StrJoin(state.residue(), "; ");
  target->set_remark(
      absl::StrCat(IsFinal(state.phase()) ? "left behind: " : "it still stands: ", residue));
}

// Whether a node may hold what it was asked for.
bool MayStand(const absl::StatusOr<v1::CommandResult>& result) {
  return result.ok() || absl::IsDeadlineExceeded(result.status()) ||
         absl::IsUnavailable(result.status()) || absl::IsCancelled(result.status());
}

absl::Status Outcome(const v1::RunTarget& target, const absl::StatusOr<v1::CommandResult>& result) {
  const std::string what =
      absl::StrCat("the controllers that faults need cannot be held on for ", Spell(target));
  if (!result.ok()) return WithContext(result.status(), what);
  if (result->start().phase() == v1::PHASE_VERIFIED) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(what, ": ", target.node(), " says that it is ",
                                          PhaseWord(result->start().phase()), ", ",
                                          result->start().reason()));
}

// The first that went wrong, and of the others what had to stay.
absl::Status Failure(const v1::Run& run, const absl::Status& first, const v1::Run& ended) {
  std::string text = absl::StrCat("run ", run.name(), " is not opened: ", first.message());
  for (const v1::RunTarget& target : ended.targets()) {
    if (target.remark().empty()) continue;
    absl::StrAppend(&text, "; and ", Spell(target), ": ", target.remark());
  }
  return {first.code(), text};
}

}  // namespace

absl::Status CheckTargets(const v1::StartRunRequest& request) {
  if (request.targets_size() > kMaxRunTargets) {
    return absl::InvalidArgumentError(
        absl::StrCat("a run has at most ", kMaxRunTargets, " targets"));
  }
  for (const v1::RunTarget& target : request.targets()) {
    const v1::Target& on = target.target();
    if (on.has_cgroup() || on.has_unit() || on.has_pid()) continue;
    return absl::InvalidArgumentError(
        "a run's target is a cgroup, a unit or a pid: what is held for it is a control group's");
  }
  if (request.hold_ns() < 0 || request.hold_ns() > kLongestHoldNs) {
    return absl::InvalidArgumentError("what is held for a run is held for 7 days (168h) at most");
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::Run> RunHolds::Plan(const v1::StartRunRequest& request,
                                       const std::vector<std::string>& known) const {
  v1::Run run;
  run.set_name(request.name());
  run.set_note(request.note());
  for (const v1::RunTarget& asked : request.targets()) {
    v1::RunTarget* target = run.add_targets();
    *target->mutable_target() = asked.target();
    target->set_node(asked.node());
    if (asked.node().empty()) {
      const auto only = OnlyNode(*fleet_);
      if (!only.ok()) return only.status();
      target->set_node(*only);
    }
    if (fleet_->Find(target->node()) == nullptr) return Absent(target->node(), known);
    target->set_hold_id(HoldId(run.name(), run.targets_size()));
  }
  return run;
}

void RunHolds::Begin(const v1::Run& run, std::int64_t hold_ns, Deadline deadline,
                     const Done& done) const {
  std::vector<NodeCommand> commands;
  for (const v1::RunTarget& target : run.targets()) {
    v1::Command command;
    v1::FaultSpec* spec = command.mutable_start()->mutable_spec();
    spec->set_id(target.hold_id());
    spec->set_type(kHoldType);
    *spec->mutable_target() = target.target();
    spec->set_duration_ns(hold_ns == 0 ? kDefaultHoldNs : hold_ns);
    commands.push_back({target.node(), std::move(command)});
  }
  FanOutEach(*fleet_, commands, deadline, [self = *this, run, done](const Results& results) {
    absl::Status first;
    v1::Run standing = run;
    standing.clear_targets();
    for (int i = 0; i < run.targets_size(); ++i) {
      const auto& result = results[static_cast<std::size_t>(i)];
      if (first.ok()) first = Outcome(run.targets(i), result);
      if (MayStand(result)) *standing.add_targets() = run.targets(i);
    }
    if (first.ok()) return done(run);
    self.End(standing, std::chrono::system_clock::now() + kEndTimeout,
             [run, first, done](const absl::StatusOr<v1::Run>& ended) {
               done(Failure(run, first, ended.ok() ? *ended : v1::Run()));
             });
  });
}

void RunHolds::End(const v1::Run& run, Deadline deadline, const Done& done) const {
  FanOutEach(*fleet_, StopsOf(run), deadline, [run, done](const Results& results) {
    v1::Run ended = run;
    for (int i = 0; i < run.targets_size(); ++i) {
      const auto& result = results[static_cast<std::size_t>(i)];
      // One that was never begun.
      if (run.end_realtime_ns() == 0 && absl::IsNotFound(result.status())) continue;
      Judge(run.end_realtime_ns(), result, ended.mutable_targets(i));
    }
    done(std::move(ended));
  });
}

}  // namespace faultline
