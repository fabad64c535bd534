// SPDX-License-Identifier: Apache-2.0
#include "collector/dataset/judge.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/clock.h"
#include "collector/dataset/batch_stream.h"
#include "collector/dataset/collateral.h"
#include "collector/dataset/frame_values.h"
#include "collector/dataset/verdict.h"

namespace faultline {
namespace {

// Windows kept of the quiet time and of the fault; a median needs no more.
constexpr std::int64_t kMaxWindows = 2048;
// The same where every control group is looked at.
constexpr std::int64_t kMaxWindowsOfOthers = 1024;
constexpr std::size_t kMoved = 3;

// Which entities an observation holds.
enum class Scope : std::uint8_t {
  // Every column of the fault's target and of the host.
  kTarget,
  // The symptoms' columns of every control group that is not the target.
  kOthers,
};

// `cgroup` lies inside `entity`, or `entity` is no group of its own: what moves in it says nothing
// about a neighbour.
bool IsAbove(absl::string_view entity, absl::string_view cgroup) {
  return entity == "/" || entity == "~other" || absl::StartsWith(cgroup, absl::StrCat(entity, "/"));
}

// Collects the series of one fault, window by window.
class Observer {
 public:
  Observer(const Layout& layout, const NodeData& node, const FaultInterval& fault, Scope scope)
      : layout_(layout), node_(node), fault_(fault), scope_(scope) {
    const std::int64_t interval = std::max<std::int64_t>(node.status.interval_ns(), 1);
    interval_s_ = static_cast<double>(interval) / static_cast<double>(kNsPerSecond);
    const std::int64_t length = std::min(fault.End() - fault.Begin(), 3600 * kNsPerSecond);
    if (scope == Scope::kTarget) {
      quiet_stride_ = 1 + 2 * kQuietReachNs / interval / kMaxWindows;
      fault_stride_ = 1 + length / interval / kMaxWindows;
    } else {
      // Quiet time is cut into stretches as long as the fault, so both are thinned alike.
      quiet_stride_ = 1 + (2 * kQuietReachNs + length) / interval / kMaxWindowsOfOthers;
      fault_stride_ = quiet_stride_;
    }
  }

  absl::Status Read(Catalogue* catalogue, const v1::Run& run) {
    BatchRange range = node_.range;
    const std::int64_t end =
        fault_.EndRealtime() == 0 ? run.end_realtime_ns() : fault_.EndRealtime();
    range.begin_ns = std::max(range.begin_ns, fault_.BeginRealtime() - kQuietReachNs);
    range.end_ns = std::min(range.end_ns, end + kQuietReachNs);
    BatchStream stream(catalogue, range);
    while (true) {
      const auto more = stream.Next();
      if (!more.ok()) return more.status();
      if (!*more) return absl::OkStatus();
      AddBatch(stream.batch(), range);
    }
  }

  const Observation& observation() const { return observation_; }

  // Takes the windows that the fault shares as its own if it has too few to itself. The faults that
  // it shares them with, oldest first; none if it was not necessary.
  std::vector<const FaultInterval*> ShareIfNeeded() {
    const auto count = [&](WindowClass which) {
      return std::count(observation_.classes.begin(), observation_.classes.end(), which);
    };
    if (count(WindowClass::kFault) >= kMinOwnWindows || count(WindowClass::kShared) == 0) return {};
    std::replace(observation_.classes.begin(), observation_.classes.end(), WindowClass::kShared,
                 WindowClass::kFault);
    return {company_.begin(), company_.end()};
  }

 private:
  using Key = std::tuple<int, std::string, int>;

  void AddBatch(const StoredBatch& batch, const BatchRange& range) {
    const std::string& boot = node_.BootOf(batch.epoch);
    if (OtherBoot(boot, fault_.state.boot_id())) return;
    std::map<std::uint64_t, std::string> names;
    for (const v1::Entity& entity : batch.content.entities()) names[entity.id()] = entity.name();
    for (const v1::Frame& frame : batch.content.frames()) {
      if (!IsWithin(frame, range.begin_ns, range.end_ns)) continue;
      const WindowClass which = Classify(frame);
      if (!IsWanted(which, frame.tick())) continue;
      observation_.classes.push_back(which);
      observation_.begins.push_back(frame.begin_boottime_ns());
      for (const v1::TableFrame& table : frame.tables()) {
        AddTable(frame, table, layout_.Map(batch.schema)[table.table()], names);
      }
      for (Series& series : observation_.series) {
        series.values.resize(observation_.classes.size(), std::nan(""));
      }
    }
  }

  WindowClass Classify(const v1::Frame& frame) {
    const std::int64_t begin = frame.begin_boottime_ns();
    const std::int64_t end = frame.end_boottime_ns();
    if (AnyTouches(node_.unseen, fault_.state.boot_id(), begin, end)) return WindowClass::kOther;
    const std::int64_t touch = fault_.state.edges().first_touch().boottime_ns();
    const std::int64_t from = touch != 0 ? touch : fault_.Acked();
    const bool inside =
        from != 0 && begin >= from && end <= fault_.SureEnd() && fault_.IsWitnessed(frame);
    bool shared = false;
    for (const FaultInterval& other : node_.faults) {
      // A sham has no dose: it hides nothing and spoils nothing.
      if (&other == &fault_ || !other.Changed() || other.state.sham() ||
          OtherBoot(other.state.boot_id(), fault_.state.boot_id())) {
        continue;
      }
      // A slow recovery of another fault must not hide this one's windows; it only spoils quiet
      // time.
      const std::int64_t until = inside ? other.End() : other.recovered_ns;
      if (other.Begin() >= end || until <= begin) continue;
      if (!inside) return WindowClass::kOther;
      shared = true;
      company_.insert(&other);
    }
    // Between two pulses nothing shows the fault, and yet that is no quiet time.
    if (inside && fault_.PulseIn(begin, end) != FaultInterval::Pulse::kOn) {
      return WindowClass::kOther;
    }
    if (inside) return shared ? WindowClass::kShared : WindowClass::kFault;
    if (fault_.Touches(begin, end)) return WindowClass::kOther;
    if (begin >= fault_.End() && begin < fault_.End() + kMaxRecoveryNs) {
      // Quiet as soon as it has recovered, which the second round knows.
      return begin < fault_.recovered_ns || !judged_ ? WindowClass::kAfter : WindowClass::kQuiet;
    }
    return WindowClass::kQuiet;
  }

  bool IsWanted(WindowClass which, std::int64_t tick) const {
    if (which == WindowClass::kOther) return false;
    if (which == WindowClass::kAfter) return scope_ == Scope::kTarget;
    return tick % (which == WindowClass::kQuiet ? quiet_stride_ : fault_stride_) == 0;
  }

  // Which columns of the entity are observed: none, the symptoms' or all.
  bool IsWanted(const std::string& table, const std::string& entity, bool symptom) const {
    const bool target = IsTarget(fault_.state, table, entity);
    if (scope_ == Scope::kOthers) {
      return symptom && table == "cgroup" && !target && !IsAbove(entity, fault_.state.cgroup());
    }
    // Symptoms of the host, an interface or a disk have no target to belong to.
    return table == "host" || (table == "cgroup" && target) || (symptom && table != "cgroup");
  }

  void AddTable(const v1::Frame& frame, const v1::TableFrame& table, const TableMap& map,
                const std::map<std::uint64_t, std::string>& names) {
    const OutputTable& output = layout_.tables()[static_cast<std::size_t>(map.table)];
    const std::vector<bool>& symptoms = SymptomsOf(map.table);
    std::optional<FrameValues> values;
    for (int row = 0; row < table.entities_size(); ++row) {
      const auto name = names.find(table.entities(row));
      if (name == names.end()) continue;
      for (std::size_t c = 0; c < output.columns.size(); ++c) {
        if (!IsWanted(output.name, name->second, symptoms[c])) continue;
        if (!values.has_value()) values.emplace(frame, table, map, output);
        const auto column = static_cast<int>(c);
        Series& series = SeriesOf(map.table, name->second, column, symptoms[c]);
        series.values.resize(observation_.classes.size(), std::nan(""));
        series.values.back() = AsDouble(values->At(column, row));
      }
    }
  }

  const std::vector<bool>& SymptomsOf(int table) {
    std::vector<bool>& symptoms = symptoms_[table];
    const OutputTable& output = layout_.tables()[static_cast<std::size_t>(table)];
    if (symptoms.empty()) {
      for (const OutputColumn& column : output.columns) {
        symptoms.push_back(IsSymptom(fault_.state, output.name, column));
      }
    }
    return symptoms;
  }

  Series& SeriesOf(int table, const std::string& entity, int column, bool symptom) {
    const auto [place, fresh] =
        index_.emplace(Key(table, entity, column), observation_.series.size());
    if (fresh) {
      const OutputTable& output = layout_.tables()[static_cast<std::size_t>(table)];
      const OutputColumn& origin = output.columns[static_cast<std::size_t>(column)];
      Series series;
      series.table = output.name;
      series.entity = entity;
      series.column = origin.name;
      series.metric = origin.metric.name();
      series.symptom = symptom;
      series.resolution = ResolutionOf(origin, interval_s_);
      observation_.series.push_back(std::move(series));
    }
    return observation_.series[place->second];
  }

 public:
  // The fault has been judged once: its recovery is known.
  void SetJudged() { judged_ = true; }

 private:
  const Layout& layout_;
  const NodeData& node_;
  const FaultInterval& fault_;
  const Scope scope_;
  bool judged_ = false;
  double interval_s_ = 1;
  std::int64_t quiet_stride_ = 1;
  std::int64_t fault_stride_ = 1;
  Observation observation_;
  std::map<Key, std::size_t> index_;
  std::map<int, std::vector<bool>> symptoms_;
  // Faults that windows of this one are shared with. They stand in one vector, oldest first.
  std::set<const FaultInterval*> company_;
};

absl::StatusOr<Collateral> LookAtOthers(Catalogue* catalogue, const Layout& layout,
                                        const v1::Run& run, const NodeData& node,
                                        const FaultInterval& fault, bool second) {
  Observer observer(layout, node, fault, Scope::kOthers);
  if (second) observer.SetJudged();
  const auto status = observer.Read(catalogue, run);
  if (!status.ok()) return status;
  return FindCollateral(observer.observation());
}

// "f1 (cpu.limit), f2 (mem.leak)".
std::string NamesOf(const std::vector<const FaultInterval*>& faults) {
  std::vector<std::string> names;
  for (const FaultInterval* fault : faults) {
    names.push_back(absl::StrCat(fault->state.spec().id(), " (", fault->state.spec().type(), ")"));
  }
  return absl::StrJoin(names, ", ");
}

std::string MovementText(const v1::Movement& movement) {
  return absl::StrFormat("%s of %s moved (score %.3g)", movement.metric(), movement.entity(),
                         movement.score());
}

// The target did not move: did something else?
void DecideCollateral(const Collateral& others, FaultInterval* fault) {
  fault->verdict = v1::VERDICT_NO_EFFECT;
  if (others.moved.has_value()) {
    fault->verdict = v1::VERDICT_COLLATERAL;
    fault->note = MovementText(*others.moved);
  } else if (others.suspect.has_value()) {
    fault->note = absl::StrCat(MovementText(*others.suspect),
                               ", but there is too little quiet time to tell whether by chance");
  }
}

bool HasFaultWindow(const Observation& observation) {
  return std::find(observation.classes.begin(), observation.classes.end(), WindowClass::kFault) !=
         observation.classes.end();
}

// What moved while the dose was 0 moved by chance.
bool MetNothing(const v1::FaultState& state) {
  return state.dose_complete() && state.dose_size() > 0 && state.dose(0).value() == 0 &&
         state.edges().first_touch().boottime_ns() == 0;
}

absl::Status DecideVerdict(Catalogue* catalogue, const Layout& layout, const v1::Run& run,
                           const NodeData& node, const Observation& seen,
                           const std::vector<const FaultInterval*>& company, bool second,
                           FaultInterval* fault) {
  const v1::FaultState& state = fault->state;
  fault->verdict = v1::VERDICT_UNSPECIFIED;
  fault->note = company.empty() ? "" : absl::StrCat("judged together with ", NamesOf(company));
  if (state.phase() == v1::PHASE_INTERFERED || state.verdict() == v1::VERDICT_INTERFERED) {
    fault->verdict = v1::VERDICT_INTERFERED;
  } else if (fault->Acked() == 0) {
    fault->note = "it ended before the kernel confirmed it";
  } else if (state.sham()) {
    fault->verdict = v1::VERDICT_NO_EFFECT;
    if (!company.empty()) {
      absl::StrAppend(&fault->note, ": what it did itself, if anything, cannot be told");
    } else if (AnySymptomMoved(seen)) {
      fault->note = "a symptom moved although the dose is zero";
    }
  } else if (MetNothing(state)) {
    fault->verdict = v1::VERDICT_NO_EFFECT;
    fault->note = "its dose is 0: it met nothing of the target's";
  } else if (!HasFaultWindow(seen)) {
    fault->note = "no whole window that the node saw lies inside the fault";
  } else if (!AnySymptomComparable(seen)) {
    fault->note = "no symptom was measured on the target in quiet time and during the fault";
  } else if (AnySymptomMoved(seen)) {
    fault->verdict = v1::VERDICT_EFFECTIVE;
  } else if (!company.empty()) {
    // Whatever moved elsewhere is as well the other fault's.
    fault->verdict = v1::VERDICT_NO_EFFECT;
  } else {
    const auto others = LookAtOthers(catalogue, layout, run, node, *fault, second);
    if (!others.ok()) return others.status();
    DecideCollateral(*others, fault);
  }
  return absl::OkStatus();
}

// One round for one fault. The first finds where recoveries end, the second judges with quiet time
// that is free of them.
absl::Status JudgeOne(Catalogue* catalogue, const Layout& layout, const v1::Run& run,
                      const NodeData& node, bool second, FaultInterval* fault) {
  Observer observer(layout, node, *fault, Scope::kTarget);
  if (second) observer.SetJudged();
  auto status = observer.Read(catalogue, run);
  if (!status.ok()) return status;
  const std::vector<const FaultInterval*> company = observer.ShareIfNeeded();
  const Observation& seen = observer.observation();
  status = DecideVerdict(catalogue, layout, run, node, seen, company, second, fault);
  if (!status.ok()) return status;
  fault->moved = MovedMost(seen, kMoved);
  if (second) return absl::OkStatus();
  const bool recovers = fault->Changed() && fault->verdict != v1::VERDICT_NO_EFFECT &&
                        fault->End() != std::numeric_limits<std::int64_t>::max();
  fault->recovered_ns = recovers ? RecoveredAt(seen, fault->End()) : fault->End();
  return absl::OkStatus();
}

}  // namespace

absl::Status Judge(Catalogue* catalogue, const Layout& layout, const v1::Run& run, NodeData* node) {
  for (const bool second : {false, true}) {
    // The second round must see the recoveries of all, so they change only between the rounds.
    std::vector<FaultInterval> judged = node->faults;
    for (std::size_t i = 0; i < judged.size(); ++i) {
      if (!judged[i].Changed()) {
        judged[i].note = "it was never active";
        continue;
      }
      FaultInterval& fault = node->faults[i];
      const FaultInterval before = fault;
      auto status = JudgeOne(catalogue, layout, run, *node, second, &fault);
      if (!status.ok()) return status;
      judged[i] = fault;
      fault = before;
    }
    node->faults = std::move(judged);
  }
  return absl::OkStatus();
}

}  // namespace faultline
