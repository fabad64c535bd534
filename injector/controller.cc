// SPDX-License-Identifier: Apache-2.0
//
// The calls of the service and the steps of a fault's life. Time is in deadlines.cc, the journal of
// an earlier process in recovery.cc.
#include "injector/controller.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/event.h"
#include "base/log.h"
#include "base/status.h"
#include "injector/docs.h"
#include "proto/words.h"

namespace faultline {
namespace {

constexpr size_t kRefusedKept = 64;

bool NewerCommand(const v1::FaultState& a, const v1::FaultState& b) {
  return a.edges().commanded().realtime_ns() > b.edges().commanded().realtime_ns();
}

const char* NounOf(const v1::FaultState& state) { return state.hold() ? "hold" : "fault"; }

// What the kernel does not take although the request is well formed is the host's doing.
absl::Status NotTheCommand(const absl::Status& status) {
  if (!absl::IsInvalidArgument(status) && !absl::IsAborted(status)) return status;
  return absl::FailedPreconditionError(status.message());
}

// "fault ID: TYPE on CGROUP WORD, REASON"; of a hold, which is no fault, "hold ID: ...".
void LogFault(Event event, const v1::FaultState& state, absl::string_view word) {
  const std::string& group = state.cgroup();
  LogEvent(event,
           {{kFaultIdField, state.spec().id()},
            {kFaultTypeField, state.spec().type()},
            {kCgroupField, group},
            {kReasonField, state.reason()}},
           NounOf(state), " ", state.spec().id(), ": ", state.spec().type(),
           group.empty() ? "" : " on ", group, " ", word, state.reason().empty() ? "" : ", ",
           state.reason());
}

Event EndOf(const v1::FaultState& state) {
  const v1::Phase phase = state.phase();
  if (state.hold() && phase == v1::PHASE_UNDONE) return Event::kHoldEnded;
  if (phase == v1::PHASE_FAILED) return Event::kFaultFailed;
  return phase == v1::PHASE_INTERFERED ? Event::kFaultInterfered : Event::kFaultUndone;
}

}  // namespace

Controller::Controller(Options options, Host* host, Clock* clock, std::unique_ptr<Journal> journal)
    : options_(std::move(options)),
      host_(host),
      clock_(clock),
      guard_(options_.guard),
      journal_(std::move(journal)),
      halt_(options_.halt_path) {}

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
  return result;
}

void Controller::Maintain(const std::function<void(Journal&)>& change) {
  const absl::MutexLock lock(&mutex_);
  change(*journal_);
  capabilities_.reset();
}

absl::StatusOr<std::unique_ptr<Injection>> Controller::Prepare(const v1::FaultSpec& spec,
                                                               Instant commanded) {
  if (!options_.disabled.empty()) return absl::FailedPreconditionError(options_.disabled);
  if (halt_.engaged()) {
    return absl::FailedPreconditionError(
        absl::StrCat("this host is halted: ", halt_.reason(),
                     "; root releases it on the host with `faultline release`"));
  }
  if (!closed_.empty()) return absl::UnavailableError(closed_);
  const FaultType* type = FindFaultType(spec.type());
  const bool hold = type != nullptr && type->hold;
  if (absl::Status status = guard_.CheckDuration(spec, hold); !status.ok()) return status;
  std::vector<const v1::FaultState*> others;
  for (const Active& active : active_) others.push_back(&active.injection->state());
  absl::StatusOr<std::unique_ptr<Injection>> injection =
      Injection::Plan(host_, clock_, spec, commanded, guard_, others);
  if (injection.ok()) (*injection)->SetBoot(options_.boot_id);
  return injection;
}

absl::StatusOr<v1::Plan> Controller::Validate(const v1::FaultSpec& spec) {
  const Instant commanded = clock_->Now();
  const absl::MutexLock lock(&mutex_);
  absl::StatusOr<std::unique_ptr<Injection>> injection = Prepare(spec, commanded);
  if (!injection.ok()) return injection.status();
  v1::Plan plan;
  *plan.mutable_spec() = (*injection)->state().spec();
  *plan.mutable_changes() = (*injection)->state().changes();
  for (const std::string& note : (*injection)->notes()) plan.add_notes(note);
  return plan;
}

absl::StatusOr<v1::FaultState> Controller::Start(const v1::FaultSpec& spec) {
  const Instant commanded = clock_->Now();
  const absl::MutexLock lock(&mutex_);
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
  absl::StatusOr<std::unique_ptr<Injection>> injection = Prepare(spec, commanded);
  if (!injection.ok()) {
    Refuse(spec, commanded, injection.status());
    return injection.status();
  }
  return Run(std::move(*injection));
}

absl::StatusOr<v1::FaultState> Controller::Run(std::unique_ptr<Injection> injection) {
  Tell(injection->state());
  MarkOpen(true);
  injection->SetPhase(v1::PHASE_JOURNALED);
  // A row that is open although its fault has ended would be taken for one that nobody ends.
  absl::Status saved = CloseRows();
  if (saved.ok()) saved = journal_->Save(injection->state());
  if (!saved.ok()) {
    saved = WithContext(saved, "nothing was changed, because the undo journal cannot be written");
    const v1::Edge& commanded = injection->state().edges().commanded();
    Refuse(injection->state().spec(), {commanded.boottime_ns(), commanded.realtime_ns()}, saved);
    MarkOpen(!active_.empty());
    return saved;
  }
  Tell(injection->state());
  if (!injection->state().hold()) LogFault(Event::kFaultStarted, injection->state(), "begins");
  active_.push_back({.injection = std::move(injection)});
  Active& active = active_.back();
  absl::Status applied = active.injection->Apply();
  if (applied.ok()) {
    Tell(active.injection->state());
    applied = active.injection->Confirm();
  }
  if (!applied.ok()) {
    applied = NotTheCommand(applied);
    End(active, v1::PHASE_FAILED, std::string(applied.message()));
    DropFinished();
    Wake();
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
  Wake();
  return state;
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

absl::StatusOr<v1::FaultState> Controller::Stop(const std::string& id) {
  const absl::MutexLock lock(&mutex_);
  for (Active& active : active_) {
    if (active.injection->id() != id) continue;
    End(active, v1::PHASE_UNDONE, "stopped");
    v1::FaultState state = active.injection->state();
    DropFinished();
    Wake();
    return state;
  }
  if (const v1::FaultState* known = Find(id); known != nullptr) return *known;
  return absl::NotFoundError(absl::StrCat("there is no fault ", id, " on this host"));
}

absl::StatusOr<v1::HaltResponse> Controller::Halt(const std::string& reason) {
  const absl::MutexLock lock(&mutex_);
  const std::string text = reason.empty() ? "no reason was given" : reason;
  const absl::Status kept = halt_.Engage(text);
  v1::HaltResponse response;
  for (v1::FaultState& state : EndEach(absl::StrCat("halted: ", text))) {
    *response.add_ended() = std::move(state);
  }
  LogEvent(Event::kHalted,
           {{kReasonField, text}, {kCountField, absl::StrCat(response.ended_size())}},
           "halted: ", text, "; ", response.ended_size(), " faults ended");
  if (!kept.ok()) {
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

bool Controller::EndAll(const std::string& reason) {
  const absl::MutexLock lock(&mutex_);
  closed_ = reason;
  EndEach(reason);
  (void)CloseRows();
  return active_.empty();
}

std::vector<v1::FaultState> Controller::EndEach(const std::string& reason) {
  std::vector<v1::FaultState> ended;
  // The newest first, and what is held last: it may stand on what an older one changed.
  for (const bool hold : {false, true}) {
    for (auto active = active_.rbegin(); active != active_.rend(); ++active) {
      if (active->injection->state().hold() != hold) continue;
      End(*active, v1::PHASE_UNDONE, reason);
      ended.push_back(active->injection->state());
    }
  }
  DropFinished();
  Wake();
  return ended;
}

void Controller::End(Active& active, v1::Phase final, const std::string& reason) {
  Injection& injection = *active.injection;
  const bool first = active.next_undo_ns == 0;
  if (first) {
    injection.BeginUndo(final, reason);
    // What is told at the end rests on more than that it ended; should this process die in between,
    // the next one goes on from here.
    if (injection.recovered() || final != v1::PHASE_UNDONE) Save(injection.state());
    Tell(injection.state());
  }
  const std::string needed = WaitsFor(injection);
  if (needed.empty() ? injection.Undo() : injection.PutOff(needed)) {
    LogFault(EndOf(injection.state()), injection.state(), PhaseWord(injection.state().phase()));
    SaveAndTell(injection.state());
    return;
  }
  active.next_undo_ns = clock_->Now().boottime_ns + kUndoRetryNs;
  if (!first) return;
  LogEvent(Event::kUndoDelayed,
           {{kFaultIdField, injection.id()},
            {kFaultTypeField, injection.state().spec().type()},
            {kReasonField, injection.state().residue(0)}},
           NounOf(injection.state()), " ", injection.id(),
           " is not undone yet: ", injection.state().residue(0));
  SaveAndTell(injection.state());
}

std::string Controller::WaitsFor(const Injection& injection) {
  const v1::FaultState& state = injection.state();
  if (!state.hold()) return "";
  const auto order = [](const v1::FaultState& of) {
    return std::make_pair(of.edges().commanded().boottime_ns(), of.spec().id());
  };
  std::vector<const v1::FaultState*> newer;
  for (const Active& active : active_) {
    const v1::FaultState& other = active.injection->state();
    // Of two holds only the newer can need the older, or they would wait for each other. No fault
    // is older.
    const bool later = !other.hold() || order(other) > order(state);
    if (!IsFinal(other.phase()) && later) newer.push_back(&other);
  }
  const v1::FaultState* on = Guard::StandsOn(state, newer);
  if (on == nullptr) return "";
  return absl::StrCat("it ends after ", NounOf(*on), " ", on->spec().id(), " (", on->spec().type(),
                      " on ", on->cgroup(), "), which needs what it holds");
}

void Controller::DropFinished() {
  for (auto active = active_.begin(); active != active_.end();) {
    if (!IsFinal(active->injection->state().phase())) {
      ++active;
      continue;
    }
    finished_.push_back(active->injection->state());
    active = active_.erase(active);
  }
  while (finished_.size() > Journal::kKept) finished_.pop_front();
  MarkOpen(!active_.empty());
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

const v1::FaultState* Controller::Find(const std::string& id) {
  for (const Active& active : active_) {
    if (active.injection->id() == id) return &active.injection->state();
  }
  for (const v1::FaultState& state : finished_) {
    if (state.spec().id() == id) return &state;
  }
  return nullptr;
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

void Controller::SaveAndTell(const v1::FaultState& state) {
  Save(state);
  Tell(state);
}

void Controller::Tell(const v1::FaultState& state) {
  for (const auto& [id, watcher] : watches_) watcher(state);
}

}  // namespace faultline
