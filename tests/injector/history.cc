// SPDX-License-Identifier: Apache-2.0
#include "tests/injector/history.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "proto/words.h"

namespace faultline {
namespace {

// Whether it worked is not the point here.
void Ignore(const absl::Status& /*status*/) {}

// Values that somebody else may write, too.
constexpr const char* kForeign[] = {"/web cpu:cpu.cfs_quota_us", "/db cpu:cpu.cfs_quota_us",
                                    "/db cpu:cpu.cfs_period_us",
                                    "/db memory:memory.limit_in_bytes"};

// When the host wants no faults, percent.
constexpr double kMostPressure = 90;

}  // namespace

const std::vector<std::string>& HistoryTypes() {
  static const std::vector<std::string> types{
      "cpu.limit", "cpu.load", "process.pause", "process.kill", "mem.leak", "mem.limit",
      "io.limit",  "net.loss", "net.rate",      "net.delay",    "sham"};
  return types;
}

History::History(std::uint64_t seed) : random_(seed), systemd_(seed % 3 == 0) {
  if (systemd_) world_.RunUnit(Roll(2) == 0);
  world_.stop.psi_cpu = kMostPressure;
  world_.readings = &busyness_;
  world_.controller.reset();
  world_.Boot();
  world_.host.helpers_outlive = Roll(2) == 0;
  world_.host.has_bpffs = Roll(4) != 0;
  world_.host.busy = Roll(2) == 0;
  if (Roll(2) == 0) world_.host.reclaim_ns = Roll(4000) * kNsPerMs;
  if (Roll(2) == 0) world_.host.leave_ns = Roll(300) * kNsPerMs;
  expected_ = world_.host.values;
  world_.host.values.clear();
  before_ = world_.host.Digest();
  world_.host.values = expected_;
  DisturbCalls();
}

std::vector<std::string> History::Run(int events) {
  for (int i = 0; i < events; ++i) {
    if (Roll(4) == 0) world_.host.helper_looks = Roll(100);
    Event();
  }
  // At rest: nothing fails any more and every deadline has passed.
  world_.host.on_step = nullptr;
  world_.Pass(100 * kNsPerSecond);
  return Check();
}

std::vector<std::string> History::Check() {
  std::vector<std::string> wrong;
  for (const auto& [key, value] : expected_) {
    const auto now = world_.host.values.find(key);
    if (now == world_.host.values.end()) {
      wrong.push_back(absl::StrCat(key, " is gone; it was ", value));
    } else if (now->second != value) {
      wrong.push_back(absl::StrCat(key, " is ", now->second, "; it was ", value));
    }
  }
  for (const auto& [key, value] : world_.host.values) {
    if (expected_.count(key) == 0) wrong.push_back(absl::StrCat(key, " is ", value, ", and new"));
  }
  const std::map<std::string, std::string> values = std::move(world_.host.values);
  world_.host.values.clear();
  if (const std::string rest = world_.host.Digest(); rest != before_) {
    wrong.push_back(absl::StrCat("the rest is\n", rest, "instead of\n", before_));
  }
  world_.host.values = values;
  CheckStates(&wrong);
  counts_.lost_calls = world_.host.lost();
  return wrong;
}

void History::CheckStates(std::vector<std::string>* wrong) {
  const v1::ListResponse list = world_.controller->List(false);
  for (const v1::FaultState& state : list.faults()) {
    const v1::Edges& edges = state.edges();
    if (!IsFinal(state.phase())) {
      wrong->push_back(absl::StrCat("not final: ", state.ShortDebugString()));
    }
    const bool early = edges.undone().boottime_ns() != 0 &&
                       edges.undone().boottime_ns() < edges.acked().boottime_ns();
    const bool stopped = absl::StrContains(state.reason(), "stop-psi-cpu");
    if (stopped && edges.acked().boottime_ns() != 0) ++counts_.stopped;
    if (early) wrong->push_back(absl::StrCat("undone before acked: ", state.ShortDebugString()));
    // A residue is somebody else's doing, and then the phase says so.
    if (!state.residue().empty() && state.phase() != v1::PHASE_INTERFERED &&
        state.phase() != v1::PHASE_FAILED) {
      wrong->push_back(absl::StrCat("residue: ", state.ShortDebugString()));
    }
  }
  const absl::StatusOr<std::unique_ptr<Journal>> journal = Journal::Open(world_.JournalPath());
  const auto rows = journal.ok() ? (*journal)->Load() : journal.status();
  if (!rows.ok()) {
    wrong->push_back(absl::StrCat("the journal: ", rows.status().message()));
    return;
  }
  for (const v1::FaultState& row : *rows) {
    if (!IsFinal(row.phase())) {
      wrong->push_back(absl::StrCat("open in the journal: ", row.ShortDebugString()));
    }
  }
}

// One call in twelve fails, before or after its effect; one change in twelve is lost, also what
// systemd is told; one in thirty is slow.
void History::DisturbCalls() {
  world_.host.on_step = [this](const std::string& step) {
    if (Roll(30) == 0) world_.clock.Advance(Roll(500) * kNsPerMs);
    if ((step == "change" || step == "set") && Roll(12) == 0) return absl::DataLossError("lost");
    if (Roll(12) != 0) return absl::OkStatus();
    ++counts_.failed_calls;
    return absl::UnavailableError(step + " fails for once");
  };
}

void History::Event() {
  switch (Roll(10)) {
    case 0:
    case 1:
    case 2:
      Start();
      break;
    case 3:
      Ignore(world_.controller->Stop(absl::StrCat("f", Roll(6))).status());
      break;
    case 4:
      world_.Pass((Roll(40) + 1) * kNsPerSecond / 4);
      break;
    case 5:
      Meddle();
      break;
    case 6:
      CrashSomewhere();
      break;
    case 7:
      if (Roll(4) == 0) Ignore(world_.controller->Halt("test").status());
      if (Roll(2) == 0) Ignore(world_.controller->Release().status());
      break;
    case 8:
      CallByCollector();
      break;
    case 9:
      busyness_.percent = Roll(4) == 0 ? kMostPressure + 1 : 0;
      world_.clock.StepRealtime((Roll(7) - 3) * kNsPerSecond);
      world_.Pass(kNsPerSecond);
      break;
  }
}

v1::FaultSpec History::Spec() {
  constexpr const char* kGroups[] = {"/web", "/db", "/web/worker"};
  // The first on a unit alone.
  constexpr const char* kMechanisms[] = {"unit",   "cgroup", "freezer", "process",
                                         "helper", "link",   "plane"};
  constexpr const char* kUnitTypes[] = {"cpu.limit", "mem.limit", "sham"};
  const std::vector<std::string>& types = HistoryTypes();
  const std::string& type = types[static_cast<size_t>(Roll(static_cast<int>(types.size())))];
  v1::FaultSpec spec = systemd_ && Roll(2) == 0 ? ControllerWorld::UnitSpec(kUnitTypes[Roll(3)])
                       : type == "sham"
                           ? ControllerWorld::Sham(kMechanisms[Roll(6) + 1], "", kGroups[Roll(3)])
                           : ControllerWorld::Spec(type, "", kGroups[Roll(3)]);
  if (spec.type() == "sham" && spec.target().has_unit()) {
    (*spec.mutable_parameters())["mechanism"] = kMechanisms[0];
  }
  if (spec.type() == "cpu.limit" && Roll(2) == 0) (*spec.mutable_parameters())["period"] = "50ms";
  if (spec.type() == "process.kill" && Roll(2) == 0) (*spec.mutable_parameters())["every"] = "1s";
  // Of a group beside it would rightly stay what the unit needs by now (hold_test.cc).
  if (spec.target().has_unit() && Roll(4) == 0) {
    spec.set_type("hold.controllers");
    spec.clear_parameters();
  }
  // Ids are few, so that repeats happen; finished ones make room.
  spec.set_id(Roll(2) == 0 ? absl::StrCat("g", serial_++) : absl::StrCat("f", Roll(6)));
  spec.set_duration_ns((Roll(20) + 1) * kNsPerSecond);
  if (Roll(3) == 0) SetShape(&spec);
  if (Roll(3) == 0) SetStart(&spec);
  return spec;
}

void History::SetStart(v1::FaultSpec* spec) {
  const std::int64_t delay_ns = (Roll(40) + 1) * kNsPerSecond / 4;
  if (Roll(2) == 0) {
    spec->set_start_delay_ns(delay_ns);
  } else {
    spec->set_start_realtime_ns(world_.clock.Now().realtime_ns + delay_ns);
  }
}

// What its type does not take is refused.
void History::SetShape(v1::FaultSpec* spec) {
  v1::Shape& shape = *spec->mutable_shape();
  if (Roll(2) == 0) {
    shape.set_kind(v1::SHAPE_KIND_RAMP);
    shape.set_ramp_ns((Roll(20) + 1) * 100 * kNsPerMs);
    return;
  }
  shape.set_kind(v1::SHAPE_KIND_PULSE);
  shape.set_on_ns((Roll(20) + 1) * 50 * kNsPerMs);
  shape.set_off_ns((Roll(20) + 1) * 50 * kNsPerMs);
}

// Which may not be heard of again.
void History::CallByCollector() {
  v1::LeaseRequest renewal;
  renewal.set_ttl_ns((Roll(15) + 1) * kNsPerSecond);
  Ignore(world_.controller->RenewLease(renewal).status());
  if (world_.controller->Start(Spec(), true).ok()) ++counts_.leased;
}

void History::Start() {
  if (world_.controller->Start(Spec()).ok()) ++counts_.started;
}

void History::Meddle() {
  ++counts_.meddled;
  FakeKernel& host = world_.host;
  switch (Roll(5)) {
    case 4:
      // As a service is started again.
      for (const char* group : {"/web", "/db", "/web/worker"}) host.processes.Add(group);
      break;
    case 0:
      // For want of memory.
      if (!host.helpers.empty()) host.KillHelper(host.helpers.begin()->first);
      break;
    case 1:
      if (!host.links.empty()) host.links.erase(host.links.begin());
      break;
    case 2:
      if (systemd_) host.units.DaemonReload();
      break;
    case 3:
      MeddleWithValue();
      break;
  }
}

// Somebody else's own value, which then is what has to stay.
void History::MeddleWithValue() {
  if (systemd_) return;
  const std::string key = kForeign[Roll(4)];
  const std::string value = absl::StrCat(1'000'000 + serial_++);
  world_.host.values[key] = value;
  expected_[key] = value;
}

void History::CrashSomewhere() {
  ++counts_.crashes;
  world_.DieAtStep(Roll(30));
  for (int i = 0; i < 6 && !world_.dead(); ++i) Start();
  if (!world_.dead()) world_.Pass(kNsPerSecond);
  world_.Crash();
  // The next one may die while it undoes, and so on.
  while (Roll(3) == 0) {
    world_.DieAtStep(Roll(20));
    world_.Boot();
    world_.Crash();
  }
  world_.Boot();
  DisturbCalls();
}

}  // namespace faultline
