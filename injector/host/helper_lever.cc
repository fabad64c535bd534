// SPDX-License-Identifier: Apache-2.0
#include "injector/host/helper_lever.h"

#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/clock.h"
#include "injector/host/dose.h"
#include "injector/host/hold.h"

namespace faultline {
namespace {

// Between looks at a helper that ends.
constexpr std::int64_t kLookNs = 20 * kNsPerMs;
// After which one is killed that does not hear: it is frozen, or has no CPU, of which a quota may
// leave it some only each 100 ms.
constexpr std::int64_t kDeafNs = 200 * kNsPerMs;
// The same of one that has heard and gives back its memory, which its death would not hasten, so
// that it can say when it was through.
constexpr std::int64_t kFarewellNs = 1'500 * kNsPerMs;
// What is still there after that cannot end for now.
constexpr std::int64_t kPatienceNs = 2'500 * kNsPerMs;

constexpr const char* kIdKey = "fault=";
// Last, as a path may hold anything.
constexpr const char* kReportKey = " report=";

std::string IdOf(const v1::Change& change) {
  for (absl::string_view word : absl::StrSplit(change.after(), ' ')) {
    if (absl::ConsumePrefix(&word, kIdKey)) return std::string(word);
  }
  return "";
}

std::string ReportOf(const v1::Change& change) {
  const std::vector<std::string> parts =
      absl::StrSplit(change.after(), absl::MaxSplits(kReportKey, 1));
  return parts.size() == 2 ? parts[1] : "";
}

std::vector<std::string> ArgumentsOf(const HelperSpec& spec) {
  std::vector<std::string> arguments{kHoldFaultFlag, spec.fault_id};
  for (const auto& number : spec.numbers) {
    arguments.push_back(absl::StrCat("--", number.first));
    arguments.push_back(absl::StrCat(number.second));
  }
  return arguments;
}

std::vector<v1::Dose> DoseOf(absl::string_view primary, const HelperReport& report) {
  if (primary == "burnt_ns") {
    return {MakeDose("burnt_ns", "ns", report.burnt_ns),
            MakeDose("group_cpus", "m{cpu}", report.group_mcpus, true)};
  }
  return {MakeDose("held_bytes", "By", report.held_bytes, true)};
}

class HelperLever final : public Lever {
 public:
  HelperLever(Cgroups* cgroups, Helpers* helpers, Clock* clock, const HelperSpec& spec,
              v1::Change change)
      : cgroups_(cgroups),
        helpers_(helpers),
        clock_(clock),
        controllers_(spec.controllers),
        order_{spec.program, ArgumentsOf(spec), ReportOf(change), spec.feed},
        change_(std::move(change)) {}

  // Of a predecessor.
  HelperLever(Cgroups* cgroups, Helpers* helpers, Clock* clock, v1::Change change)
      : cgroups_(cgroups),
        helpers_(helpers),
        clock_(clock),
        change_(std::move(change)),
        page_(helpers->OpenReport(ReportOf(change_))),
        recovered_(true) {}

  const v1::Change& change() const override { return change_; }

  absl::Status Apply() override {
    absl::StatusOr<std::unique_ptr<HelperProcess>> process = helpers_->Start(order_);
    if (!process.ok()) return process.status();
    process_ = std::move(*process);
    if (absl::Status status = Move(); !status.ok()) return status;
    if (absl::Status status = Verify(); !status.ok()) return status;
    return process_->Go();
  }

  absl::Status Verify() override {
    if (recovered_) {
      return Left() == 0
                 ? absl::AbortedError(absl::StrCat("no helper is left in ", change_.object()))
                 : absl::OkStatus();
    }
    if (process_ == nullptr || !process_->Running()) {
      return absl::AbortedError(absl::StrCat("the helper in ", change_.object(),
                                             " has ended: killed, perhaps for want of memory"));
    }
    for (const std::string& controller : controllers_) {
      if (absl::Status home = CheckHome(controller); !home.ok()) return home;
    }
    return CheckTargetLives();
  }

  // The helper says itself when it gave everything back.
  Ended OverBy(std::int64_t /*deadline_ns*/) override {
    const std::optional<HelperReport> report = Report();
    if (!report || report->closed_ns == 0) return {};
    return {report->closing_ns, report->closed_ns};
  }

  std::int64_t wait_ns() const override { return wait_ns_; }

  absl::Status Restore() override {
    const std::int64_t now_ns = clock_->Now().boottime_ns;
    if (asked_ns_ == 0) asked_ns_ = now_ns;
    const std::int64_t since_ns = now_ns - asked_ns_;
    const bool kill = since_ns >= (HasHeard() ? kFarewellNs : kDeafNs);
    wait_ns_ = 0;
    const absl::Status ended = process_ == nullptr ? EndFound(kill) : End(*process_, kill);
    if (ended.ok()) return helpers_->RemoveReport(ReportOf(change_));
    if (absl::IsUnavailable(ended) && since_ns < kPatienceNs) wait_ns_ = kLookNs;
    return ended;
  }

  absl::Status Residue() override {
    const pid_t left = Left();
    if (left == 0) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat("helper process ", left, " still runs in ", change_.object()));
  }

  Evidence Measure() override {
    Evidence evidence;
    const std::optional<HelperReport> report = Report();
    if (!report) {
      if (recovered_) evidence.missing = "the helper's report is gone";
      return evidence;
    }
    evidence.dose = DoseOf(change_.attribute(), *report);
    evidence.first_touch_ns = report->first_touch_ns;
    evidence.last_touch_ns = report->last_touch_ns;
    evidence.error_ns = report->step_ns;
    // Memory is held or not; what was burnt goes on after the last report.
    if (change_.attribute() == "burnt_ns" && report->closed_ns == 0 && Left() == 0) {
      evidence.missing = "the helper was killed before it could tell the rest";
    }
    return evidence;
  }

 private:
  // None: there is no helper yet, or the report of an earlier one is gone.
  std::optional<HelperReport> Report() const {
    if (process_ != nullptr) return process_->Report();
    if (page_ != nullptr) return page_->Read();
    return std::nullopt;
  }

  // It is on its way to its end, and says so.
  bool HasHeard() const {
    const std::optional<HelperReport> report = Report();
    return report && report->closing_ns != 0;
  }

  // A process that runs for the fault; 0: none does.
  pid_t Left() const {
    if (process_ != nullptr) return process_->Running() ? process_->pid() : 0;
    // One that dies has no name any more by which it would be found.
    for (const std::unique_ptr<RunningHelper>& helper : found_) {
      if (helper->Running()) return helper->pid();
    }
    if (!found_.empty()) return 0;
    const std::vector<pid_t> left = helpers_->Find(IdOf(change_));
    return left.empty() ? 0 : left.front();
  }

  absl::Status End(RunningHelper& helper, bool kill) {
    absl::Status ended = helper.End(kill);
    if (kill && absl::IsUnavailable(ended) && thawed_.count(helper.pid()) == 0 &&
        Thaw(helper.pid()).ok()) {
      thawed_.insert(helper.pid());
    }
    return ended;
  }

  absl::Status EndFound(bool kill) {
    if (found_.empty()) {
      for (const pid_t pid : helpers_->Find(IdOf(change_))) {
        absl::StatusOr<std::unique_ptr<RunningHelper>> helper = helpers_->Open(pid, IdOf(change_));
        if (absl::IsNotFound(helper.status())) continue;
        if (!helper.ok()) return helper.status();
        found_.push_back(*std::move(helper));
      }
    }
    absl::Status first;
    for (auto helper = found_.begin(); helper != found_.end();) {
      const absl::Status ended = End(**helper, kill);
      first.Update(ended);
      helper = ended.ok() ? found_.erase(helper) : helper + 1;
    }
    return first;
  }

  absl::Status CheckHome(const std::string& controller) const {
    const absl::StatusOr<std::string> now = cgroups_->HomeOf(process_->pid(), controller);
    if (absl::IsUnimplemented(now.status())) return now.status();
    if (!now.ok()) return absl::AbortedError(now.status().message());
    if (*now == change_.object()) return absl::OkStatus();
    return absl::AbortedError(
        absl::StrCat("somebody else moved the helper of ", change_.object(), " to ", *now));
  }

  // A group that never had another process waits for one.
  absl::Status CheckTargetLives() {
    const Helpers* const helpers = helpers_;
    const absl::StatusOr<bool> others =
        cgroups_->HasProcess(change_.object(), controllers_.front(),
                             [helpers](pid_t pid) { return helpers->IsHelper(pid); });
    if (!others.ok()) return others.status();
    had_others_ = had_others_ || *others;
    if (*others || !had_others_) return absl::OkStatus();
    return absl::NotFoundError(
        absl::StrCat("no process but the helper is left in control group ", change_.object()));
  }

  absl::Status Move() {
    for (const std::string& controller : controllers_) {
      absl::Status moved = cgroups_->Attach(change_.object(), controller, process_->pid());
      if (!moved.ok()) return moved;
    }
    cgroups_->AttachForMetrics(change_.object(), process_->pid());
    return absl::OkStatus();
  }

  // A task of a frozen v1 group dies only when it is thawed, and it thaws when it leaves the group.
  absl::Status Thaw(pid_t pid) const { return cgroups_->Attach("/", "freezer", pid); }

  Cgroups* const cgroups_;
  Helpers* const helpers_;
  Clock* const clock_;
  const std::vector<std::string> controllers_;
  const HelperOrder order_;
  const v1::Change change_;
  // Of a predecessor's helper.
  const std::unique_ptr<ReportPage> page_;
  std::unique_ptr<HelperProcess> process_;
  const bool recovered_ = false;
  bool had_others_ = false;
  // When it was first to end, CLOCK_BOOTTIME, and how long until the next look at that.
  std::int64_t asked_ns_ = 0;
  std::int64_t wait_ns_ = 0;
  // A predecessor's that are to end.
  std::vector<std::unique_ptr<RunningHelper>> found_;
  std::set<pid_t> thawed_;
};

}  // namespace

std::vector<std::pair<std::string, std::int64_t>> ShapeNumbers(const Shape& shape,
                                                               std::int64_t start_ns) {
  if (shape.pulse()) return {{"start", start_ns}, {"on", shape.on_ns}, {"off", shape.off_ns}};
  if (shape.ramp()) return {{"start", start_ns}, {"ramp", shape.ramp_ns}};
  return {};
}

LeverOr MakeHelper(Cgroups* cgroups, Helpers* helpers, Clock* clock, const HelperSpec& spec) {
  for (const std::string& controller : spec.controllers) {
    if (absl::Status group = cgroups->Check(spec.cgroup, controller); !group.ok()) return group;
  }
  if (absl::Status program = helpers->Check(spec.program); !program.ok()) return program;
  v1::Change change;
  change.set_kind("helper");
  change.set_object(spec.cgroup);
  change.set_attribute(spec.dose);
  std::string after = absl::StrCat(kIdKey, spec.fault_id);
  for (const auto& number : spec.numbers) {
    absl::StrAppend(&after, " ", number.first, "=", number.second);
  }
  change.set_after(absl::StrCat(after, kReportKey, helpers->ReportPath(spec.fault_id)));
  return std::make_unique<HelperLever>(cgroups, helpers, clock, spec, std::move(change));
}

LeverOr RecoverHelper(Cgroups* cgroups, Helpers* helpers, Clock* clock, const v1::Change& change) {
  if (IdOf(change).empty()) {
    return absl::InvalidArgumentError("the journal names no fault for a helper process");
  }
  return std::make_unique<HelperLever>(cgroups, helpers, clock, change);
}

}  // namespace faultline
