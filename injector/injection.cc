// SPDX-License-Identifier: Apache-2.0
#include "injector/injection.h"

#include <algorithm>
#include <random>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/log.h"
#include "base/status.h"

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

absl::Status CheckShape(const v1::FaultSpec& spec) {
  const v1::ShapeKind kind = spec.shape().kind();
  if (kind == v1::SHAPE_KIND_UNSPECIFIED || kind == v1::SHAPE_KIND_CONSTANT) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat(spec.type(),
                   " has the full dose from start to end: leave the shape out or "
                   "make it constant"));
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
  if (absl::Status status = CheckShape(spec); !status.ok()) return status;
  if (!type->peers && spec.peers_size() > 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(spec.type(), " takes no peer filters: leave them out"));
  }
  return type;
}

}  // namespace

bool IsFinal(v1::Phase phase) { return phase >= v1::PHASE_UNDONE; }

absl::StatusOr<std::unique_ptr<Injection>> Injection::Plan(Host* host, Clock* clock,
                                                           const v1::FaultSpec& spec,
                                                           Instant commanded, const Guard& guard) {
  absl::StatusOr<const FaultType*> type = CheckSpec(spec);
  if (!type.ok()) return type.status();
  absl::StatusOr<Parameters> parameters = Parameters::Parse((*type)->parameters, spec);
  if (!parameters.ok()) return parameters.status();
  absl::StatusOr<std::string> cgroup = host->Resolve(spec.target());
  if (!cgroup.ok()) return cgroup.status();
  if (absl::Status status = guard.CheckTarget(*cgroup); !status.ok()) return status;

  std::unique_ptr<Injection> injection(new Injection(host, clock));
  injection->FillState(**type, spec, commanded);
  injection->state_.set_cgroup(*cgroup);
  parameters->WriteTo(injection->state_.mutable_spec());
  injection->fault_ = (*type)->make();
  const Request request{injection->state_.spec(), *parameters, *cgroup,
                        injection->state_.deadline_boottime_ns()};
  absl::Status planned =
      injection->fault_->Plan(*host, request, &injection->levers_, &injection->notes_);
  if (!planned.ok()) return planned;
  for (const std::unique_ptr<Lever>& lever : injection->levers_) {
    *injection->state_.add_changes() = lever->change();
  }
  return injection;
}

void Injection::FillState(const FaultType& type, const v1::FaultSpec& spec, Instant commanded) {
  *state_.mutable_spec() = spec;
  if (spec.id().empty()) state_.mutable_spec()->set_id(NewFaultId());
  // 0 asks for one; the mask keeps it from drawing 0.
  if (spec.seed() == 0) state_.mutable_spec()->set_seed(Random64() | 1);
  state_.set_phase(v1::PHASE_ACCEPTED);
  v1::Edge* edge = state_.mutable_edges()->mutable_commanded();
  edge->set_boottime_ns(commanded.boottime_ns);
  edge->set_realtime_ns(commanded.realtime_ns);
  state_.set_deadline_boottime_ns(commanded.boottime_ns + spec.duration_ns());
  state_.set_sham(type.sham);
  for (const char* symptom : type.symptoms) state_.add_symptoms(symptom);
}

std::unique_ptr<Injection> Injection::Recover(Host* host, Clock* clock, v1::FaultState state) {
  std::unique_ptr<Injection> injection(new Injection(host, clock));
  injection->state_ = std::move(state);
  injection->levers_.resize(static_cast<size_t>(injection->state_.changes_size()));
  return injection;
}

void Injection::Stamp(v1::Edge* edge, std::int64_t begin_ns) {
  const Instant now = clock_->Now();
  edge->set_boottime_ns(now.boottime_ns);
  edge->set_realtime_ns(now.realtime_ns);
  edge->set_error_ns(now.boottime_ns - begin_ns);
}

absl::Status Injection::Apply() {
  apply_ns_ = clock_->Now().boottime_ns;
  for (const std::unique_ptr<Lever>& lever : levers_) {
    if (absl::Status status = lever->Apply(); !status.ok()) return status;
  }
  SetPhase(v1::PHASE_APPLIED);
  return absl::OkStatus();
}

absl::Status Injection::Confirm() {
  if (absl::Status status = Verify(); !status.ok()) return status;
  Stamp(state_.mutable_edges()->mutable_acked(), apply_ns_);
  SetPhase(v1::PHASE_VERIFIED);
  return absl::OkStatus();
}

absl::Status Injection::Verify() {
  for (const std::unique_ptr<Lever>& lever : levers_) {
    if (absl::Status status = lever->Verify(); !status.ok()) return status;
  }
  return absl::OkStatus();
}

bool Injection::Measure() {
  if (fault_ == nullptr) return false;
  const Instant now = clock_->Now();
  const Evidence evidence = fault_->Measure(*host_, levers_, now.boottime_ns);
  state_.clear_dose();
  for (const v1::Dose& dose : evidence.dose) *state_.add_dose() = dose;
  const auto set = [&](v1::Edge* edge, std::int64_t at_ns) {
    edge->set_boottime_ns(at_ns);
    edge->set_realtime_ns(now.realtime_ns - now.boottime_ns + at_ns);
    edge->set_error_ns(evidence.error_ns);
  };
  const bool fresh =
      evidence.first_touch_ns != 0 && state_.edges().first_touch().boottime_ns() == 0;
  if (fresh) set(state_.mutable_edges()->mutable_first_touch(), evidence.first_touch_ns);
  if (evidence.last_touch_ns != 0) {
    set(state_.mutable_edges()->mutable_last_touch(), evidence.last_touch_ns);
  }
  return fresh;
}

std::int64_t Injection::LastStampNs() const {
  const v1::Edges& edges = state_.edges();
  return std::max({edges.commanded().boottime_ns(), edges.acked().boottime_ns(),
                   edges.first_touch().boottime_ns(), edges.last_touch().boottime_ns()});
}

absl::Status Injection::MakeLevers() {
  for (size_t i = 0; i < levers_.size(); ++i) {
    if (levers_[i] != nullptr) continue;
    LeverOr lever = host_->Recover(state_.changes(static_cast<int>(i)));
    if (!lever.ok()) return lever.status();
    levers_[i] = std::move(*lever);
  }
  return absl::OkStatus();
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

bool Injection::Undo(v1::Phase final, const std::string& reason) {
  if (final_ == v1::PHASE_UNSPECIFIED) {
    final_ = final;
    if (state_.reason().empty()) state_.set_reason(reason);
  }
  Measure();
  SetPhase(v1::PHASE_UNDOING);
  const std::int64_t begin_ns = clock_->Now().boottime_ns;
  bool interfered = false;
  if (!RestoreAll(&interfered)) return false;
  // Of a fault that another process left it is only known to have ended after its last stamp: a
  // link and a helper end with their process, a value stays until now.
  Stamp(state_.mutable_edges()->mutable_undone(), fault_ == nullptr ? LastStampNs() : begin_ns);
  // What came in between the read above and the end.
  Measure();
  SetPhase(final_);
  if (interfered && final_ != v1::PHASE_FAILED) {
    SetPhase(v1::PHASE_INTERFERED);
    if (state_.reason().empty()) state_.set_reason(state_.residue(0));
  }
  if (state_.phase() == v1::PHASE_INTERFERED) state_.set_verdict(v1::VERDICT_INTERFERED);
  return true;
}

}  // namespace faultline
