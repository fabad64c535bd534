// SPDX-License-Identifier: Apache-2.0
#include "collector/dataset/intervals.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "proto/words.h"

namespace faultline {
namespace {

constexpr std::int64_t kForEver = std::numeric_limits<std::int64_t>::max();

// The window may contain an edge that happened between `from_ns` and `to_ns`.
bool MayHold(std::int64_t from_ns, std::int64_t to_ns, std::int64_t begin_ns, std::int64_t end_ns) {
  return to_ns > begin_ns && from_ns < end_ns;
}

// A stamp is taken after the event, at most its error later; nothing came before the start.
bool IsInside(const FaultInterval& fault, const v1::Edge& edge, std::int64_t begin_ns,
              std::int64_t end_ns) {
  const std::int64_t from = std::max(fault.Begin(), edge.boottime_ns() - edge.error_ns());
  return edge.boottime_ns() != 0 && MayHold(from, edge.boottime_ns(), begin_ns, end_ns);
}

// The window contains an edge of what the fault does to the host. last_touch is none: it says when
// the last packet came, not that anything changed.
bool HasEdge(const FaultInterval& fault, std::int64_t begin_ns, std::int64_t end_ns) {
  const v1::Edges& edges = fault.state.edges();
  v1::Edge begin = edges.commanded();
  begin.set_boottime_ns(fault.Begin());
  for (const v1::Edge* edge : {&std::as_const(begin), &edges.acked(), &edges.first_touch()}) {
    if (IsInside(fault, *edge, begin_ns, end_ns)) return true;
  }
  if (MayHold(fault.SureEnd(), fault.End(), begin_ns, end_ns)) return true;
  if (fault.MayBeActive(begin_ns, end_ns) &&
      fault.PulseIn(begin_ns, end_ns) == FaultInterval::Pulse::kEdge) {
    return true;
  }
  // Between the start and the confirmation the host is in neither state.
  const std::int64_t settled = fault.Acked() != 0 ? fault.Acked() : fault.End();
  return fault.Begin() <= begin_ns && settled >= end_ns;
}

LabelState StateOf(const FaultInterval& fault, std::int64_t begin_ns, std::int64_t end_ns) {
  if (HasEdge(fault, begin_ns, end_ns)) return LabelState::kTransition;
  if (fault.MayBeActive(begin_ns, end_ns)) return LabelState::kFault;
  if (begin_ns >= fault.End() && begin_ns < fault.recovered_ns) return LabelState::kRecovery;
  return LabelState::kNormal;
}

}  // namespace

bool FaultInterval::Changed() const {
  // Undone without an ack: its injector died between the change and the confirmation, or before
  // both, which nobody can tell.
  return Acked() != 0 || state.phase() == v1::PHASE_FAILED ||
         state.phase() == v1::PHASE_INTERFERED || state.phase() == v1::PHASE_UNDONE;
}

std::int64_t FaultInterval::Begin() const {
  const v1::Edges& edges = state.edges();
  // Told by an injector of an earlier version, it has no start.
  const std::int64_t begin = std::max(state.start_boottime_ns(), edges.commanded().boottime_ns());
  // One whose injector died right before its start ended before it.
  const std::int64_t undone = edges.undone().boottime_ns();
  return undone == 0 ? begin : std::min(begin, undone);
}

bool FaultInterval::HasEnd() const {
  return state.edges().undone().boottime_ns() != 0 || IsFinal(state.phase());
}

bool FaultInterval::EndsItself() const {
  bool link = false;
  for (const v1::Change& change : state.changes()) {
    // A class without the program that steers into it is met by no packet.
    if (change.kind() != "link" && change.kind() != "net_class") return false;
    link = link || change.kind() == "link";
  }
  return link;
}

std::int64_t FaultInterval::End() const {
  const std::int64_t undone = state.edges().undone().boottime_ns();
  if (undone != 0) return undone;
  const bool over = IsFinal(state.phase()) || EndsItself();
  return over && state.deadline_boottime_ns() != 0 ? state.deadline_boottime_ns() : kForEver;
}

std::int64_t FaultInterval::SureEnd() const {
  const v1::Edges& edges = state.edges();
  if (edges.undone().boottime_ns() == 0) return End();
  const std::int64_t sure = std::max(
      {edges.undone().boottime_ns() - edges.undone().error_ns(), edges.acked().boottime_ns(),
       edges.first_touch().boottime_ns(), edges.last_touch().boottime_ns()});
  return std::min(sure, End());
}

std::int64_t FaultInterval::BeginRealtime() const { return RealtimeOf(Begin()); }

std::int64_t FaultInterval::EndRealtime() const {
  return End() == kForEver ? 0 : RealtimeOf(End());
}

std::int64_t FaultInterval::RealtimeOf(std::int64_t boottime_ns) const {
  // By the clock as it was when it began, which may be a day after the command.
  const v1::Edges& edges = state.edges();
  const v1::Edge& known = edges.acked().realtime_ns() != 0 ? edges.acked() : edges.commanded();
  return boottime_ns - known.boottime_ns() + known.realtime_ns();
}

FaultInterval::Pulse FaultInterval::PulseIn(std::int64_t begin_ns, std::int64_t end_ns) const {
  const v1::Shape& shape = state.spec().shape();
  const std::int64_t round_ns = shape.on_ns() + shape.off_ns();
  const std::int64_t start_ns = state.start_boottime_ns();
  const bool pulses = shape.kind() == v1::SHAPE_KIND_PULSE && round_ns > 0;
  if (!pulses || begin_ns < start_ns || end_ns - begin_ns >= round_ns) return Pulse::kOn;
  const std::int64_t from_ns = (begin_ns - start_ns) % round_ns;
  const std::int64_t to_ns = from_ns + end_ns - begin_ns;
  if (to_ns <= shape.on_ns()) return Pulse::kOn;
  return from_ns >= shape.on_ns() && to_ns <= round_ns ? Pulse::kBetween : Pulse::kEdge;
}

bool FaultInterval::Covers(std::int64_t begin_ns, std::int64_t end_ns) const {
  const std::int64_t touch = state.edges().first_touch().boottime_ns();
  // Without the kernel's confirmation nothing is claimed.
  return Acked() != 0 && touch != 0 && begin_ns >= touch && end_ns <= SureEnd() &&
         PulseIn(begin_ns, end_ns) == Pulse::kOn;
}

bool FaultInterval::MayBeActive(std::int64_t begin_ns, std::int64_t end_ns) const {
  return Acked() != 0 && Acked() < end_ns && End() > begin_ns;
}

bool FaultInterval::IsActive(const v1::Frame& frame) const {
  return MayBeActive(frame.begin_boottime_ns(), frame.end_boottime_ns()) &&
         SureEnd() > frame.begin_boottime_ns() && IsWitnessed(frame);
}

bool FaultInterval::Touches(std::int64_t begin_ns, std::int64_t end_ns) const {
  return Changed() && Begin() < end_ns && End() > begin_ns;
}

bool FaultInterval::IsWitnessed(const v1::Frame& frame) const {
  return HasEnd() || std::find(frame.active_faults().begin(), frame.active_faults().end(),
                               state.spec().id()) != frame.active_faults().end();
}

bool FaultInterval::IsLabelled() const {
  return !state.sham() && (verdict == v1::VERDICT_EFFECTIVE || verdict == v1::VERDICT_COLLATERAL);
}

const char* LabelStateName(LabelState state) {
  switch (state) {
    case LabelState::kNormal:
      return "normal";
    case LabelState::kUnknown:
      return "unknown";
    case LabelState::kRecovery:
      return "recovery";
    case LabelState::kFault:
      return "fault";
    case LabelState::kTransition:
      return "transition";
  }
  return "";
}

WindowLabel IntervalTable::Label(const v1::Frame& frame, absl::string_view boot_id) const {
  const std::int64_t begin = frame.begin_boottime_ns();
  const std::int64_t end = frame.end_boottime_ns();
  WindowLabel label;
  bool active = false;
  bool maybe = false;
  for (const FaultInterval& fault : faults_) {
    if (!fault.Changed() || OtherBoot(fault.state.boot_id(), boot_id)) continue;
    const LabelState state = StateOf(fault, begin, end);
    if (state == LabelState::kNormal) continue;
    label.faults.push_back(&fault);
    active = active || fault.IsActive(frame);
    maybe = maybe || fault.MayBeActive(begin, end);
    // Never undone as far as we know, and the node does not know of it either.
    if (state == LabelState::kFault && !fault.IsWitnessed(frame)) {
      label.state = std::max(label.state, LabelState::kUnknown);
      continue;
    }
    label.state = std::max(label.state, state);
    label.label = label.label || (fault.IsLabelled() && fault.Covers(begin, end));
  }
  const bool unseen = AnyTouches(unseen_, boot_id, begin, end);
  label.facts_differ = !unseen && active != (frame.active_faults_size() > 0);
  for (const std::string& id : frame.active_faults()) {
    const bool known = std::any_of(faults_.begin(), faults_.end(), [&](const FaultInterval& fault) {
      return fault.state.spec().id() == id;
    });
    if (known) continue;
    // The node saw the kernel accept it, so it is a fact, whatever else we know.
    label.unknown_faults.push_back(id);
    active = true;
    label.state = std::max(label.state, LabelState::kUnknown);
  }
  if (active || !(maybe || unseen)) label.fault_active = active;
  if (unseen) {
    // Nobody can say whether the kernel still had it: a link ends with the injector that died.
    label.label = false;
    label.unseen = true;
    if (label.state == LabelState::kFault) label.state = LabelState::kUnknown;
    label.state = std::max(label.state, LabelState::kUnknown);
  }
  return label;
}

bool IsTarget(const v1::FaultState& fault, absl::string_view table, absl::string_view entity) {
  const std::string& cgroup = fault.cgroup();
  if (table == "cgroup") {
    if (cgroup.empty()) return fault.spec().target().host() && entity == "/";
    if (cgroup == "/") return entity == "/";
    return entity == cgroup || absl::StartsWith(entity, absl::StrCat(cgroup, "/"));
  }
  if (table == "netdev") return fault.spec().target().interface() == std::string(entity);
  return table == "host" && fault.spec().target().host();
}

bool AnyTouches(const std::vector<Span>& spans, absl::string_view boot_id, std::int64_t begin_ns,
                std::int64_t end_ns) {
  return std::any_of(spans.begin(), spans.end(), [&](const Span& span) {
    return !OtherBoot(span.boot_id, boot_id) && span.begin_ns < end_ns && span.end_ns > begin_ns;
  });
}

bool OtherBoot(absl::string_view a, absl::string_view b) {
  return !a.empty() && !b.empty() && a != b;
}

}  // namespace faultline
