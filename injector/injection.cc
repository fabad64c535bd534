// SPDX-License-Identifier: Apache-2.0
#include "injector/injection.h"

#include <algorithm>
#include <random>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "base/log.h"
#include "base/status.h"
#include "injector/faults/shape.h"
#include "proto/peer_text.h"

namespace faultline {
namespace {

std::uint64_t Random64() {
  std::random_device device;
  return (std::uint64_t{device()} << 32) | device();
}

}  // namespace

// UUID of version 4 (RFC 9562).
std::string NewFaultId() {
  const std::uint64_t high = (Random64() & ~std::uint64_t{0xF000}) | 0x4000;
  const std::uint64_t low = (Random64() & ~(std::uint64_t{3} << 62)) | (std::uint64_t{1} << 63);
  return absl::StrFormat("%08x-%04x-%04x-%04x-%012x", high >> 32, (high >> 16) & 0xFFFF,
                         high & 0xFFFF, low >> 48, low & 0xFFFFFFFFFFFF);
}

namespace {

// The id stands in file names, in a helper's arguments and in the names of kernel objects.
absl::Status CheckId(absl::string_view id) {
  const bool plain = std::all_of(id.begin(), id.end(), [](char c) {
    return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '-';
  });
  if (plain && id.size() <= kMaxFaultIdLength) return absl::OkStatus();
  return absl::InvalidArgumentError(
      "the fault's id must be a UUID: letters, digits and '-', at most 64");
}

const char* TargetKind(const v1::Target& target) {
  switch (target.target_case()) {
    case v1::Target::kCgroup:
      return "cgroup";
    case v1::Target::kUnit:
      return "unit";
    case v1::Target::kPid:
      return "pid";
    case v1::Target::kInterface:
      return "interface";
    case v1::Target::kHost:
      return "host";
    case v1::Target::TARGET_NOT_SET:
      break;
  }
  return "";
}

absl::Status CheckTarget(const FaultType& type, const v1::FaultSpec& spec) {
  const std::vector<std::string> kinds = absl::StrSplit(type.targets, '|');
  const std::string kind = TargetKind(spec.target());
  if (std::find(kinds.begin(), kinds.end(), kind) != kinds.end()) return absl::OkStatus();
  const std::string takes =
      absl::StrCat(type.name, " acts on a ", absl::StrJoin(kinds, " or a "), ", e.g. ", kinds[0],
                   kinds[0] == "cgroup" ? ":/faultline/web" : ":NAME");
  return absl::InvalidArgumentError(
      kind.empty() ? absl::StrCat("a target is missing: ", takes)
                   : absl::StrCat("the target is of kind ", kind, "; ", takes));
}

absl::StatusOr<const FaultType*> CheckSpec(const v1::FaultSpec& spec) {
  const FaultType* type = FindFaultType(spec.type());
  if (type == nullptr) {
    std::vector<std::string> names;
    for (const FaultType& row : FaultTypes()) names.emplace_back(row.name);
    return absl::InvalidArgumentError(absl::StrCat("there is no fault \"", spec.type(),
                                                   "\"; there are ", absl::StrJoin(names, ", ")));
  }
  if (absl::Status status = CheckId(spec.id()); !status.ok()) return status;
  if (absl::Status status = CheckTarget(*type, spec); !status.ok()) return status;
  if (!type->peers && spec.peers_size() > 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(spec.type(), " takes no peer filters: leave them out"));
  }
  return type;
}

// Between two pulses nothing of the fault is left, nor of the controller that it had turned on.
absl::Status CheckUnitPulse(const FaultType& type, const v1::Change& change) {
  if (!change.has_unit() || !change.before().empty()) return absl::OkStatus();
  const std::string controller = change.attribute().substr(0, change.attribute().find(':'));
  return absl::FailedPreconditionError(absl::StrCat(
      type.name, ": the ", controller, " controller is off for ", change.unit().unit(),
      ", and a pulse would have systemd turn it on and off again and again; have it held on by "
      "`faultline run start --target`, or by a setting of the unit (CPUWeight=, "
      "MemoryAccounting=yes)"));
}

void NoteExempt(absl::Span<const v1::PeerFilter> exempt, std::vector<std::string>* notes) {
  if (exempt.empty()) return;
  std::vector<std::string> texts;
  for (const v1::PeerFilter& peer : exempt) texts.push_back(PeerText(peer));
  notes->push_back(absl::StrCat("packets of ", absl::StrJoin(texts, ", "),
                                " are not met: this host's owner exempts them, or they are the "
                                "collector's"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Injection>> Injection::Plan(Host* host, Clock* clock,
                                                           const v1::FaultSpec& spec, Timing timing,
                                                           const Guard& guard, const Others& others,
                                                           std::vector<v1::PeerFilter> exempt) {
  absl::StatusOr<const FaultType*> type = CheckSpec(spec);
  if (!type.ok()) return type.status();
  absl::StatusOr<Shape> shape = ParseShape(
      spec, (*type)->shapes, LeastShapeNs(**type, spec.shape().kind() == v1::SHAPE_KIND_RAMP));
  if (!shape.ok()) return shape.status();
  absl::StatusOr<Parameters> parameters = Parameters::Parse((*type)->parameters, spec);
  if (!parameters.ok()) return parameters.status();
  std::unique_ptr<Injection> injection(new Injection(host, clock));
  injection->FillState(**type, spec, timing);
  if (absl::Status found = injection->FindTarget(spec.target()); !found.ok()) return found;
  const std::string& cgroup = injection->state_.cgroup();
  absl::Status allowed = guard.CheckTarget(cgroup);
  if (allowed.ok()) allowed = guard.CheckServices(*host, cgroup);
  if (!allowed.ok()) return allowed;
  // Before the plan, to which the work of another fault looks like somebody else's.
  if (absl::Status status = Guard::CheckRivals(spec.type(), cgroup, others.beside); !status.ok()) {
    return status;
  }

  absl::StatusOr<std::vector<std::uint64_t>> ids = host->GroupIds(cgroup);
  if (!ids.ok()) return ids.status();
  injection->group_ids_ = std::move(*ids);
  parameters->WriteTo(injection->state_.mutable_spec());
  if (absl::Status rival = Guard::CheckRivals(spec.type(), cgroup, others.before); !rival.ok()) {
    injection->notes_.push_back(
        absl::StrCat("what it changes is looked at shortly before it begins: ", rival.message()));
  } else if (absl::Status planned =
                 injection->PlanLevers(**type, *parameters, *shape, others, std::move(exempt));
             !planned.ok()) {
    return planned;
  }
  if (absl::Status status = guard.CheckOthers(injection->state_, others.beside); !status.ok()) {
    return status;
  }
  return injection;
}

absl::Status Injection::FindTarget(const v1::Target& target) {
  const absl::StatusOr<std::int64_t> started = host_->ProcessStart(target);
  const absl::StatusOr<std::string> cgroup = host_->Resolve(target);
  if (!cgroup.ok()) return cgroup.status();
  if (!started.ok()) return started.status();
  state_.set_cgroup(*cgroup);
  return HoldProcess(*started);
}

absl::Status Injection::HoldProcess(std::int64_t process_start) {
  process_start_ = process_start;
  return CheckProcess();
}

absl::Status Injection::PlanLevers(const FaultType& type, const Parameters& parameters,
                                   const Shape& shape, const Others& others,
                                   std::vector<v1::PeerFilter> exempt) {
  const std::string& cgroup = state_.cgroup();
  fault_ = type.make();
  const Request request{state_.spec(),
                        parameters,
                        cgroup,
                        state_.start_boottime_ns(),
                        state_.deadline_boottime_ns(),
                        shape,
                        std::move(exempt),
                        others.beside};
  if (FollowerOf(type, shape.ramp()) == Follower::kController) steps_ = fault_->StepsOf(request);
  level_ = steps_.StepLevel(0);
  if (absl::Status planned = fault_->Plan(*host_, request, &levers_, &notes_); !planned.ok()) {
    return planned;
  }
  if (type.peers) NoteExempt(request.exempt, &notes_);
  if (!type.hold && !host_->HasProcess(cgroup)) {
    notes_.push_back(absl::StrCat("no process is in control group ", cgroup,
                                  " nor below it: as long as none comes, nothing is met"));
  }
  for (const std::unique_ptr<Lever>& lever : levers_) {
    if (steps_.pulse()) {
      if (absl::Status can = CheckUnitPulse(type, lever->change()); !can.ok()) return can;
    }
    *state_.add_changes() = lever->change();
    for (std::string& note : lever->Notes()) notes_.push_back(std::move(note));
  }
  TakeBaseline();
  return absl::OkStatus();
}

void Injection::FillState(const FaultType& type, const v1::FaultSpec& spec, Timing timing) {
  *state_.mutable_spec() = spec;
  if (spec.id().empty()) state_.mutable_spec()->set_id(NewFaultId());
  // 0 asks for one; the mask keeps it from drawing 0.
  if (spec.seed() == 0) state_.mutable_spec()->set_seed(Random64() | 1);
  state_.set_phase(v1::PHASE_ACCEPTED);
  v1::Edge* edge = state_.mutable_edges()->mutable_commanded();
  edge->set_boottime_ns(timing.commanded.boottime_ns);
  edge->set_realtime_ns(timing.commanded.realtime_ns);
  state_.set_start_boottime_ns(timing.start_ns);
  state_.set_deadline_boottime_ns(timing.start_ns + spec.duration_ns());
  state_.set_sham(type.sham);
  state_.set_hold(type.hold);
  for (const char* symptom : type.symptoms) state_.add_symptoms(symptom);
}

std::unique_ptr<Injection> Injection::Recover(Host* host, Clock* clock, v1::FaultState state) {
  std::unique_ptr<Injection> injection(new Injection(host, clock));
  injection->recovered_ = true;
  injection->alive_ns_ = LastSignNs(state);
  injection->levers_.resize(static_cast<size_t>(state.changes_size()));
  injection->state_ = std::move(state);
  // A journal of another version may hold what this one does not know: then there is only the undo.
  const FaultType* type = FindFaultType(injection->state_.spec().type());
  if (type == nullptr) return injection;
  absl::StatusOr<Parameters> parameters =
      Parameters::Parse(type->parameters, injection->state_.spec());
  if (!parameters.ok()) return injection;
  injection->fault_ = type->make();
  injection->fault_->Resume(injection->state_, *parameters);
  return injection;
}

void Injection::Stamp(v1::Edge* edge, const Instant& now, std::int64_t at_ns,
                      std::int64_t error_ns) {
  edge->set_boottime_ns(at_ns);
  edge->set_realtime_ns(now.realtime_ns - now.boottime_ns + at_ns);
  edge->set_error_ns(error_ns);
}

absl::Status Injection::Apply() {
  if (apply_ns_ == 0) apply_ns_ = clock_->Now().boottime_ns;
  settle_ns_ = 0;
  if (apply_ns_ >= state_.deadline_boottime_ns()) {
    return absl::FailedPreconditionError(
        absl::StrCat("it was not applied: its deadline, ",
                     absl::FormatDuration(absl::Nanoseconds(state_.spec().duration_ns())),
                     " after the command, was over by then; give it a longer duration"));
  }
  for (; applied_ < levers_.size(); ++applied_) {
    absl::Status status = levers_[applied_]->Apply();
    if (status.ok()) continue;
    settle_ns_ = levers_[applied_]->wait_ns();
    return status;
  }
  SetPhase(v1::PHASE_APPLIED);
  return absl::OkStatus();
}

absl::Status Injection::CheckProcess() const {
  const v1::Target& target = state_.spec().target();
  const absl::StatusOr<std::int64_t> now = host_->ProcessStart(target);
  const bool gone = absl::IsNotFound(now.status());
  if (!now.ok() && !gone) return now.status();
  if (!gone && *now == process_start_) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("process ", target.pid(), " has ended since the command",
                   gone ? "" : ", and its number is another's by now"));
}

absl::Status Injection::CheckBefore() {
  if (absl::Status process = CheckProcess(); !process.ok()) return process;
  if (absl::Status target = CheckTarget(); !target.ok()) return target;
  for (const std::unique_ptr<Lever>& lever : levers_) {
    if (absl::Status residue = lever->Residue(); !residue.ok()) return residue;
  }
  fault_->Refresh(*host_);
  TakeBaseline();
  return absl::OkStatus();
}

void Injection::TakeBaseline() {
  state_.clear_baseline();
  for (v1::Dose& dose : fault_->Baseline()) *state_.add_baseline() = std::move(dose);
}

absl::Status Injection::Confirm() {
  absl::Status status = Verify();
  // The group may go between the plan and here.
  if (absl::IsNotFound(status)) return absl::FailedPreconditionError(status.message());
  if (!status.ok()) return status;
  const Instant now = clock_->Now();
  SetPhase(v1::PHASE_VERIFIED);
  Measure();
  // What it met already shows that it was in force by then.
  const std::int64_t touched_ns = state_.edges().first_touch().boottime_ns();
  const std::int64_t acked_ns =
      touched_ns == 0 ? now.boottime_ns : std::min(now.boottime_ns, touched_ns);
  Stamp(state_.mutable_edges()->mutable_acked(), now, acked_ns,
        std::max<std::int64_t>(0, acked_ns - apply_ns_));
  return absl::OkStatus();
}

absl::Status Injection::CheckTarget() const {
  const absl::StatusOr<std::vector<std::uint64_t>> ids = host_->GroupIds(state_.cgroup());
  if (absl::IsNotFound(ids.status())) return ids.status();
  // Whatever else of it cannot be read is the levers' to find out.
  if (!ids.ok() || ids->size() != group_ids_.size()) return absl::OkStatus();
  for (size_t i = 0; i < group_ids_.size(); ++i) {
    // Of hierarchies only those count that have both: a group may leave one of them alone.
    if (group_ids_[i] == 0 || ids->at(i) == 0 || ids->at(i) == group_ids_[i]) continue;
    return absl::AbortedError(absl::StrCat("control group ", state_.cgroup(),
                                           " was removed, and this is another of that name"));
  }
  return absl::OkStatus();
}

absl::Status Injection::Verify() {
  const bool may_go = state_.hold() || (fault_ != nullptr && fault_->EndsTarget());
  const absl::Status target = may_go ? absl::OkStatus() : CheckTarget();
  absl::Status status = target;
  for (const std::unique_ptr<Lever>& lever : levers_) {
    if (status.ok()) status = lever->Verify();
  }
  // Whether a unit is gone for good or comes back in a moment must not decide what is told of it.
  const std::string& unit = state_.spec().target().unit();
  if (!unit.empty() && !state_.hold() && (absl::IsNotFound(status) || !target.ok())) {
    status = absl::AbortedError(
        absl::StrCat("unit ", unit, " was stopped or restarted: ", status.message()));
  }
  lost_ = !status.ok();
  if (!lost_) held_ns_ = clock_->Now().boottime_ns;
  return status;
}

// An amount that could not be read now keeps its last value, and the primary dose its place.
void Injection::TakeDose(const Evidence& evidence) {
  const auto find = [this](const std::string& name) {
    for (v1::Dose& dose : *state_.mutable_dose()) {
      if (dose.name() == name) return &dose;
    }
    return state_.add_dose();
  };
  for (const v1::Dose& dose : evidence.dose) *find(dose.name()) = dose;
}

bool Injection::Measure() {
  if (fault_ == nullptr || state_.dose_complete()) return false;
  for (const std::unique_ptr<Lever>& lever : levers_) {
    if (lever == nullptr) return false;
  }
  const Instant now = clock_->Now();
  const Evidence evidence = fault_->Measure(*host_, levers_, now.boottime_ns);
  missing_ = evidence.missing;
  missing_what_ = evidence.missing_what;
  TakeDose(evidence);
  if (!recovered_ && active() && missing_.empty()) state_.set_read_boottime_ns(now.boottime_ns);
  v1::Edges* edges = state_.mutable_edges();
  const bool fresh = evidence.first_touch_ns != 0 && edges->first_touch().boottime_ns() == 0;
  if (fresh) Stamp(edges->mutable_first_touch(), now, evidence.first_touch_ns, evidence.error_ns);
  if (evidence.last_touch_ns > edges->last_touch().boottime_ns()) {
    Stamp(edges->mutable_last_touch(), now, evidence.last_touch_ns, evidence.error_ns);
  }
  return fresh;
}

}  // namespace faultline
