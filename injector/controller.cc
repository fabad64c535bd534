// SPDX-License-Identifier: Apache-2.0
//
// The calls of the service and the way of a fault until it is active. How it ends is in endings.cc,
// what is kept and told of it in records.cc, time in deadlines.cc, what is to begin later in
// schedule.cc, the journal of an earlier process in recovery.cc.
#include "injector/controller.h"

#include <algorithm>
#include <stop_token>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/event.h"
#include "base/log.h"
#include "base/status.h"
#include "injector/docs.h"
#include "injector/fault_log.h"
#include "injector/start_time.h"

namespace faultline {
namespace {

constexpr size_t kRefusedKept = 64;

// A host that is too busy to tell what a start has to know is asked again for so long, and so
// often.
constexpr std::int64_t kBusyHostNs = 5 * kNsPerSecond;
constexpr std::int64_t kAskHostNs = 100 * kNsPerMs;

bool NewerCommand(const v1::FaultState& a, const v1::FaultState& b) {
  return a.edges().commanded().realtime_ns() > b.edges().commanded().realtime_ns();
}

// What the kernel does not take although the request is well formed is the host's doing.
absl::Status NotTheCommand(const absl::Status& status) {
  if (!absl::IsInvalidArgument(status) && !absl::IsAborted(status)) return status;
  return absl::FailedPreconditionError(status.message());
}

}  // namespace

Controller::Controller(Options options, Host* host, Clock* clock, std::unique_ptr<Journal> journal)
    : options_(std::move(options)),
      host_(host),
      clock_(clock),
      guard_(options_.guard),
      stop_(options_.stop, options_.readings),
      lease_(options_.collector_path, options_.lease_path),
      journal_(std::move(journal)),
      halt_(options_.halt_path),
      taken_(options_.boot_id) {}

absl::StatusOr<std::unique_ptr<Controller>> Controller::Create(Options options, Host* host,
                                                               Clock* clock,
                                                               std::unique_ptr<Journal> journal) {
  std::unique_ptr<Controller> controller(
      new Controller(std::move(options), host, clock, std::move(journal)));
  if (absl::Status status = controller->Recover(); !status.ok()) return status;
  if (controller->options_.run_thread) {
    Controller* self = controller.get();
    controller->thread_ = std::jthread([self](const std::stop_token& stop) { self->Loop(stop); });
  }
  return controller;
}

Controller::~Controller() {
  thread_.request_stop();
  {
    const absl::MutexLock lock(&mutex_);
    Wake();
  }
  if (thread_.joinable()) thread_.join();
}

v1::Capabilities Controller::GetCapabilities() {
  const absl::MutexLock lock(&mutex_);
  if (!capabilities_.has_value()) {
    capabilities_.emplace();
    for (const FaultType& type : FaultTypes()) {
      v1::FaultInfo* info = capabilities_->add_faults();
      *info = Describe(type);
      const absl::Status can = options_.disabled.empty()
                                   ? type.probe(*host_)
                                   : absl::FailedPreconditionError(options_.disabled);
      info->set_availability(can.ok() ? v1::AVAILABILITY_AVAILABLE : v1::AVAILABILITY_MISSING);
      info->set_reason(std::string(can.message()));
      if (!can.ok() || !type.ledger) continue;
      const absl::Status kept = host_->Probe("ledger");
      if (kept.ok()) continue;
      info->set_availability(v1::AVAILABILITY_DEGRADED);
      info->set_reason(std::string(kept.message()));
    }
  }
  v1::Capabilities result = *capabilities_;
  result.set_halted(halt_.reason());
  *result.mutable_limits() = LimitsNow();
  return result;
}

void Controller::Maintain(const std::function<void(Journal&)>& change) {
  const absl::MutexLock lock(&mutex_);
  change(*journal_);
  capabilities_.reset();
}

absl::StatusOr<std::unique_ptr<Injection>> Controller::Prepare(const v1::FaultSpec& spec,
                                                               Instant commanded, bool leased) {
  if (!options_.disabled.empty()) return absl::FailedPreconditionError(options_.disabled);
  if (halt_.engaged()) {
    return absl::FailedPreconditionError(
        absl::StrCat("this host is halted: ", halt_.reason(),
                     "; root releases it on the host with `faultline release`"));
  }
  if (halts_ > 0) return absl::FailedPreconditionError("this host is about to be halted");
  if (!closed_.empty()) return absl::UnavailableError(closed_);
  const FaultType* type = FindFaultType(spec.type());
  const bool hold = type != nullptr && type->hold;
  leased = leased && !hold && !options_.autonomous;
  if (type != nullptr) {
    const absl::Status wanted = CheckWanted(*type, leased, commanded.boottime_ns);
    if (!wanted.ok()) return wanted;
  }
  if (absl::Status status = guard_.CheckDuration(spec, hold); !status.ok()) return status;
  const absl::StatusOr<std::int64_t> start_ns = StartOf(spec, commanded);
  if (!start_ns.ok()) return start_ns.status();
  if (hold && IsScheduled(spec)) {
    return absl::InvalidArgumentError("what is held for a run begins at once; give it no start");
  }
  absl::StatusOr<std::unique_ptr<Injection>> injection =
      Injection::Plan(host_, clock_, spec, {commanded, *start_ns}, guard_,
                      OthersOf(spec, hold, *start_ns), Exempt());
  if (!injection.ok()) return injection;
  (*injection)->SetBoot(options_.boot_id);
  (*injection)->SetLeased(leased);
  if (absl::Status share = CheckShare((*injection)->state(), commanded); !share.ok()) return share;
  return injection;
}

absl::StatusOr<v1::Plan> Controller::Validate(const v1::FaultSpec& spec, bool leased) {
  const Instant commanded = clock_->Now();
  const absl::MutexLock lock(&mutex_);
  absl::StatusOr<std::unique_ptr<Injection>> injection = Prepare(spec, commanded, leased);
  if (!injection.ok()) return injection.status();
  v1::Plan plan;
  *plan.mutable_spec() = (*injection)->state().spec();
  *plan.mutable_changes() = (*injection)->state().changes();
  for (const std::string& note : (*injection)->notes()) plan.add_notes(note);
  return plan;
}

absl::StatusOr<v1::FaultState> Controller::Start(const v1::FaultSpec& spec, bool leased) {
  const Instant commanded = clock_->Now();
  const absl::MutexLock lock(&mutex_);
  return StartLocked(spec, commanded, leased, nullptr);
}

void Controller::Start(const v1::FaultSpec& spec, Instant commanded, bool leased, Answer answer) {
  while (true) {
    const std::int64_t now_ns = clock_->Now().boottime_ns;
    const bool patient = now_ns - commanded.boottime_ns < kBusyHostNs;
    bool again = false;
    {
      const absl::MutexLock lock(&mutex_);
      absl::StatusOr<v1::FaultState> state =
          StartLocked(spec, commanded, leased, patient ? &again : nullptr);
      if (!again) {
        AnswerTo(std::move(answer), std::move(state), true);
        return;
      }
    }
    clock_->WaitUntil(now_ns + kAskHostNs, std::stop_token());
  }
}

absl::StatusOr<v1::FaultState> Controller::StartLocked(const v1::FaultSpec& spec, Instant commanded,
                                                       bool leased, bool* again) {
  if (!spec.id().empty()) {
    if (const v1::FaultState* known = Find(spec.id()); known != nullptr) return *known;
    // Whoever was told of the refusal takes it for the end of that fault.
    for (const v1::FaultState& refused : refused_) {
      if (refused.spec().id() != spec.id()) continue;
      return absl::FailedPreconditionError(absl::StrCat("fault ", spec.id(),
                                                        " was refused before (", refused.reason(),
                                                        "); give another id to try again"));
    }
  }
  absl::StatusOr<std::unique_ptr<Injection>> injection = Prepare(spec, commanded, leased);
  if (!injection.ok()) {
    if (again != nullptr && closed_.empty() && absl::IsUnavailable(injection.status())) {
      *again = true;
      return injection.status();
    }
    Refuse(spec, commanded, injection.status());
    return injection.status();
  }
  return IsScheduled(spec) ? Accept(**injection) : Run(std::move(*injection));
}

absl::StatusOr<v1::FaultState> Controller::Run(std::unique_ptr<Injection> injection) {
  Tell(injection->state());
  if (absl::Status saved = Record(*injection); !saved.ok()) {
    const v1::Edge& commanded = injection->state().edges().commanded();
    Refuse(injection->state().spec(), {commanded.boottime_ns(), commanded.realtime_ns()}, saved);
    UpdateMark();
    return saved;
  }
  return Begin(std::move(injection));
}

absl::Status Controller::Record(Injection& injection) {
  MarkOpen(true);
  injection.SetPhase(v1::PHASE_JOURNALED);
  // A row that is open although its fault has ended would be taken for one that nobody ends.
  absl::Status saved = CloseRows();
  if (saved.ok()) saved = journal_->Save(injection.state());
  if (!saved.ok()) {
    return WithContext(saved, "nothing was changed, because the undo journal cannot be written");
  }
  Tell(injection.state());
  return absl::OkStatus();
}

absl::StatusOr<v1::FaultState> Controller::Begin(std::unique_ptr<Injection> injection) {
  if (!injection->state().hold()) LogFault(Event::kFaultStarted, injection->state(), "begins");
  active_.push_back({.injection = std::move(injection)});
  const absl::Status applied = Advance(active_.back());
  v1::FaultState state = active_.back().injection->state();
  DropFinished();
  Wake();
  if (!applied.ok()) return applied;
  return state;
}

absl::Status Controller::Advance(Active& active) {
  active.next_apply_ns = 0;
  absl::Status applied = active.injection->Apply();
  if (active.injection->applying()) {
    active.next_apply_ns = clock_->Now().boottime_ns + active.injection->settle_ns();
    return absl::OkStatus();
  }
  if (applied.ok()) {
    Tell(active.injection->state());
    applied = active.injection->Confirm();
  }
  if (!applied.ok()) {
    applied = NotTheCommand(applied);
    End(active, v1::PHASE_FAILED, std::string(applied.message()));
    return applied;
  }
  for (const std::string& note : active.injection->notes()) {
    LogInfo(NounOf(active.injection->state()), " ", active.injection->id(), ": note: ", note);
  }
  const std::int64_t now_ns = clock_->Now().boottime_ns;
  active.next_save_ns = now_ns;
  active.next_verify_ns = now_ns;
  active.next_measure_ns = now_ns;
  SaveAndTell(active.injection->state());
  ScheduleNext(active, now_ns);
  const v1::FaultState& state = active.injection->state();
  LogFault(state.hold() ? Event::kHoldActive : Event::kFaultActive, state, "is active");
  return absl::OkStatus();
}

void Controller::Refuse(const v1::FaultSpec& spec, Instant commanded, const absl::Status& why) {
  v1::FaultState state;
  *state.mutable_spec() = spec;
  // A refused fault is told of like any other, so it needs a name that everybody takes.
  if (spec.id().empty() || spec.id().size() > kMaxFaultIdLength) {
    state.mutable_spec()->set_id(NewFaultId());
  }
  state.set_phase(v1::PHASE_REFUSED);
  state.set_reason(std::string(why.message()));
  state.set_boot_id(options_.boot_id);
  state.mutable_edges()->mutable_commanded()->set_boottime_ns(commanded.boottime_ns);
  state.mutable_edges()->mutable_commanded()->set_realtime_ns(commanded.realtime_ns);
  LogFault(Event::kFaultRefused, state, "refused");
  refused_.push_back(state);
  if (refused_.size() > kRefusedKept) refused_.pop_front();
  Tell(state);
}

absl::StatusOr<v1::HaltResponse> Controller::Halt(const std::string& reason) {
  ++halts_;
  const absl::MutexLock lock(&mutex_);
  --halts_;
  return HaltLocked(reason);
}

void Controller::Halt(const std::string& reason, HaltAnswer answer) {
  ++halts_;
  const absl::MutexLock lock(&mutex_);
  --halts_;
  absl::StatusOr<v1::HaltResponse> now = HaltLocked(reason);
  if (!now.ok()) {
    answer(std::move(now));
    return;
  }
  struct Rest {
    v1::HaltResponse response;
    int left;
    HaltAnswer answer;
    void Note(int at, const v1::FaultState& state) {
      *response.mutable_ended(at) = state;
      if (--left == 0) answer(std::move(response));
    }
  };
  if (now->ended_size() == 0) {
    answer(std::move(now));
    return;
  }
  const auto rest = std::make_shared<Rest>(Rest{*now, now->ended_size(), std::move(answer)});
  for (int i = 0; i < now->ended_size(); ++i) {
    const v1::FaultState& state = now->ended(i);
    AnswerTo(
        [rest, i, state](const absl::StatusOr<v1::FaultState>& ended) {
          rest->Note(i, ended.ok() ? *ended : state);
        },
        state, false);
  }
}

absl::StatusOr<v1::HaltResponse> Controller::HaltLocked(const std::string& reason) {
  const std::string text = reason.empty() ? "no reason was given" : reason;
  halt_.Engage(text);
  v1::HaltResponse response;
  for (v1::FaultState& state : EndEach(absl::StrCat("halted: ", text))) {
    *response.add_ended() = std::move(state);
  }
  LogEvent(Event::kHalted,
           {{kReasonField, text}, {kCountField, absl::StrCat(response.ended_size())}},
           "halted: ", text, "; ", response.ended_size(), " faults ended");
  // A disk that does not answer must not keep a fault in force.
  if (const absl::Status kept = halt_.Keep(); !kept.ok()) {
    return WithContext(kept,
                       "every fault is ended and the halt is in force, but it will not "
                       "outlive this process");
  }
  return response;
}

absl::StatusOr<v1::ReleaseResponse> Controller::Release() {
  const absl::MutexLock lock(&mutex_);
  v1::ReleaseResponse response;
  response.set_was_halted(halt_.engaged());
  if (absl::Status status = halt_.Release(); !status.ok()) return status;
  if (response.was_halted()) LogEvent(Event::kReleased, {}, "the halt is released");
  return response;
}

v1::ListResponse Controller::List(bool active_only) {
  const absl::MutexLock lock(&mutex_);
  v1::ListResponse response;
  for (v1::FaultState& state : ListLocked(active_only)) *response.add_faults() = std::move(state);
  response.set_halted(halt_.reason());
  return response;
}

std::vector<v1::FaultState> Controller::ListLocked(bool active_only) {
  std::vector<v1::FaultState> states;
  for (const Active& active : active_) {
    if (active.injection->active()) MeasureNow(*active.injection);
    states.push_back(active.injection->state());
  }
  for (const Scheduled& one : scheduled_) states.push_back(one.now());
  if (!active_only) {
    states.insert(states.end(), finished_.begin(), finished_.end());
    states.insert(states.end(), refused_.begin(), refused_.end());
  }
  std::stable_sort(states.begin(), states.end(), NewerCommand);
  return states;
}

int Controller::Watch(bool active_only, Watcher watcher) {
  const absl::MutexLock lock(&mutex_);
  for (const v1::FaultState& state : ListLocked(active_only)) watcher(state);
  watches_[++last_watch_] = std::move(watcher);
  return last_watch_;
}

void Controller::Unwatch(int watch) {
  const absl::MutexLock lock(&mutex_);
  watches_.erase(watch);
}

const v1::FaultState* Controller::Find(const std::string& id) {
  for (const Active& active : active_) {
    if (active.injection->id() == id) return &active.injection->state();
  }
  for (const Scheduled& one : scheduled_) {
    if (one.state.spec().id() == id) return &one.now();
  }
  for (const v1::FaultState& state : finished_) {
    if (state.spec().id() == id) return &state;
  }
  return nullptr;
}

}  // namespace faultline
