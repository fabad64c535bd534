// SPDX-License-Identifier: Apache-2.0
#include "injector/host/link.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/log.h"
#include "injector/host/dose.h"

namespace faultline {
namespace {

// "program=12 name=loss_in boot=<boot_id> ledger=<path>": ids alone come again after a reboot. The
// path is last, as it may hold anything, and left out where nothing is pinned.
constexpr char kLedgerField[] = " ledger=";

std::string DescribeProgram(std::uint32_t id, absl::string_view name, absl::string_view boot,
                            absl::string_view ledger) {
  return absl::StrCat("program=", id, " name=", name, " boot=", boot,
                      ledger.empty() ? "" : kLedgerField, ledger);
}

std::map<std::string, std::string> ParseDescription(const std::string& text) {
  std::map<std::string, std::string> fields;
  const std::pair<std::string, std::string> parts =
      absl::StrSplit(text, absl::MaxSplits(kLedgerField, 1));
  for (absl::string_view word : absl::StrSplit(parts.first, ' ', absl::SkipEmpty())) {
    const std::pair<std::string, std::string> field = absl::StrSplit(word, absl::MaxSplits('=', 1));
    fields.insert(field);
  }
  fields["ledger"] = parts.second;
  return fields;
}

std::int64_t Signed(std::uint64_t count) { return static_cast<std::int64_t>(count); }

Evidence ToEvidence(const fault_dose& dose, LinkLever::Dosage dosage) {
  Evidence evidence;
  evidence.first_touch_ns = Signed(dose.first_ns);
  evidence.last_touch_ns = Signed(dose.last_ns);
  if (dosage == LinkLever::Dosage::kSteering) {
    evidence.dose.push_back(MakeDose("packets_steered", "{packet}", Signed(dose.hit_packets)));
    evidence.dose.push_back(MakeDose("buffers_steered", "{buffer}", Signed(dose.hit_buffers)));
    return evidence;
  }
  evidence.dose.push_back(MakeDose("packets_dropped", "{packet}", Signed(dose.hit_packets)));
  evidence.dose.push_back(MakeDose("buffers_dropped", "{buffer}", Signed(dose.hit_buffers)));
  evidence.dose.push_back(MakeDose("bytes_dropped", "By", Signed(dose.hit_bytes)));
  evidence.dose.push_back(MakeDose("packets_passed", "{packet}", Signed(dose.passed_packets)));
  evidence.dose.push_back(MakeDose("buffers_passed", "{buffer}", Signed(dose.passed_buffers)));
  return evidence;
}

}  // namespace

LinkLever::LinkLever(const NetKernel& kernel, Hook hook, Dosage dosage, std::uint32_t program_id)
    : kernel_(kernel),
      hook_(std::move(hook)),
      dosage_(dosage),
      program_id_(program_id),
      watch_(kernel.network, hook_.device) {}

absl::StatusOr<std::unique_ptr<LinkLever>> LinkLever::Create(const NetKernel& kernel,
                                                             const ProgramSpec& spec, Dosage dosage,
                                                             std::int64_t past_ns) {
  absl::StatusOr<std::unique_ptr<Program>> program = kernel.programs->Load(spec);
  if (!program.ok()) return program.status();
  const std::uint32_t id = (*program)->id();
  std::unique_ptr<LinkLever> lever(new LinkLever(kernel, spec.hook, dosage, id));
  lever->program_ = *std::move(program);
  lever->past_ns_ = past_ns;
  lever->ledger_ = kernel.programs->LedgerPath(id);
  lever->change_.set_kind("link");
  lever->change_.set_object(spec.hook.object);
  lever->change_.set_attribute(absl::StrCat(HookName(spec.hook.kind), " ", spec.hook.what));
  lever->change_.set_after(
      DescribeProgram(id, spec.name, kernel.programs->BootId(), lever->ledger_));
  return lever;
}

absl::StatusOr<std::unique_ptr<LinkLever>> LinkLever::Recover(const NetKernel& kernel,
                                                              const v1::Change& change) {
  const std::map<std::string, std::string> fields = ParseDescription(change.after());
  const std::vector<std::string> attribute =
      absl::StrSplit(change.attribute(), absl::MaxSplits(' ', 1));
  std::uint32_t id = 0;
  const auto program = fields.find("program");
  const auto name = fields.find("name");
  const auto boot = fields.find("boot");
  if (program == fields.end() || name == fields.end() || boot == fields.end() ||
      !absl::SimpleAtoi(program->second, &id)) {
    return absl::InvalidArgumentError(
        absl::StrCat("link change names no program: \"", change.after(), "\""));
  }
  for (Hook::Kind kind :
       {Hook::Kind::kCgroupIngress, Hook::Kind::kCgroupEgress, Hook::Kind::kTcxEgress}) {
    if (attribute[0] != HookName(kind)) continue;
    // The second is what it was called before it served more than rates.
    const bool steers = name->second == "steer" || name->second == "steer_rate";
    const Dosage dosage = steers ? Dosage::kSteering : Dosage::kLoss;
    const Hook hook{kind, change.object(), attribute.size() > 1 ? attribute[1] : "", ""};
    std::unique_ptr<LinkLever> lever(new LinkLever(kernel, hook, dosage, id));
    lever->change_ = change;
    lever->of_this_boot_ = boot->second == kernel.programs->BootId();
    if (!lever->of_this_boot_) return lever;
    lever->ledger_ = fields.find("ledger")->second;
    lever->kept_ = kernel.programs->OpenLedger(lever->ledger_);
    return lever;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("link change names no hook: \"", change.attribute(), "\""));
}

absl::Status LinkLever::Apply() {
  if (program_ == nullptr) {
    return absl::FailedPreconditionError("a recovered link cannot be applied");
  }
  if (!ledger_.empty()) {
    // Best effort: without it a kill loses the counts, never the undo.
    const absl::Status kept = program_->Keep(ledger_);
    if (!kept.ok()) LogWarning(kept.message());
  }
  if (absl::Status attached = program_->Attach(); !attached.ok()) return attached;
  watch_.Begin();
  return absl::OkStatus();
}

absl::Status LinkLever::SetLevel(double level) {
  return dosage_ == Dosage::kSteering ? absl::OkStatus() : Lever::SetLevel(level);
}

absl::Status LinkLever::Attached() const {
  const auto gone = [this] {
    return absl::StrCat("the BPF program is no longer on ", HookName(hook_.kind), " of ",
                        hook_.object);
  };
  if (!of_this_boot_) return absl::AbortedError(gone());
  absl::StatusOr<std::vector<std::uint32_t>> ids = kernel_.programs->Attached(hook_);
  // With the control group or the device went everything that was attached to it.
  if (absl::IsNotFound(ids.status()) || absl::IsFailedPrecondition(ids.status())) {
    if (hook_.kind == Hook::Kind::kTcxEgress) return absl::AbortedError(ids.status().message());
    return absl::NotFoundError(ids.status().message());
  }
  if (!ids.ok()) return ids.status();
  const bool attached = std::find(ids->begin(), ids->end(), program_id_) != ids->end();
  return attached ? absl::OkStatus() : absl::AbortedError(gone());
}

absl::Status LinkLever::Verify() {
  const absl::Status attached = Attached();
  return attached.ok() ? watch_.Check() : attached;
}

absl::StatusOr<std::int64_t> LinkLever::Quiesce() {
  if (past_ns_ == 0) return 0;
  const absl::Status told = program_->GoOn(kernel_.clock->Now().boottime_ns + past_ns_);
  if (!told.ok()) return told;
  past_ns_ = 0;
  return 0;
}

absl::Status LinkLever::Restore() {
  if (program_ != nullptr) program_->Detach();
  return kernel_.programs->DropLedger(ledger_, program_id_);
}

absl::Status LinkLever::Residue() {
  const absl::Status attached = Attached();
  if (absl::IsAborted(attached) || absl::IsNotFound(attached)) return absl::OkStatus();
  if (!attached.ok()) return attached;
  return absl::InternalError(absl::StrCat("BPF program ", program_id_, " is still on ",
                                          HookName(hook_.kind), " of ", hook_.object));
}

Evidence LinkLever::Measure() {
  const Ledger* ledger = program_ != nullptr ? program_.get() : kept_.get();
  if (ledger != nullptr) {
    const absl::StatusOr<fault_dose> dose = ledger->Read();
    if (dose.ok()) return ToEvidence(*dose, dosage_);
  }
  // Nothing is known, which is not 0.
  Evidence unknown;
  unknown.missing = ledger_.empty()
                        ? "no bpffs kept what the BPF program counted"
                        : absl::StrCat("the counts that were kept in ", ledger_, " are gone");
  return unknown;
}

}  // namespace faultline
