// SPDX-License-Identifier: Apache-2.0
#include "injector/host/leak.h"

#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <memory>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "injector/host/dose.h"
#include "injector/host/process.h"

namespace faultline {
namespace {

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

// kB of `key` in the text of /proc/meminfo; -1: there is none.
std::int64_t MeminfoBytes(absl::string_view text, absl::string_view key) {
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (!absl::ConsumePrefix(&line, key)) continue;
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
    std::int64_t kb = 0;
    if (!words.empty() && absl::SimpleAtoi(words[0], &kb)) return kb * 1024;
  }
  return -1;
}

class LeakLever final : public Lever {
 public:
  // `arguments` of the helper.
  LeakLever(const Cgroups* cgroups, std::string program, std::vector<std::string> arguments,
            v1::Change change)
      : cgroups_(cgroups),
        program_(std::move(program)),
        arguments_(std::move(arguments)),
        change_(std::move(change)) {}

  // Of a predecessor.
  LeakLever(const Cgroups* cgroups, v1::Change change)
      : cgroups_(cgroups),
        change_(std::move(change)),
        report_(HoldReportFile::Open(ReportOf(change_))),
        recovered_(true) {}

  const v1::Change& change() const override { return change_; }

  absl::Status Apply() override {
    absl::StatusOr<std::unique_ptr<HoldReportFile>> report =
        HoldReportFile::Make(ReportOf(change_));
    if (!report.ok()) return report.status();
    report_ = std::move(*report);
    absl::StatusOr<std::unique_ptr<HoldProcess>> process =
        HoldProcess::Start(program_, arguments_, *report_);
    if (!process.ok()) return process.status();
    process_ = std::move(*process);
    if (absl::Status status = Move(); !status.ok()) return status;
    if (absl::Status status = Verify(); !status.ok()) return status;
    return process_->Go();
  }

  absl::Status Verify() override {
    if (recovered_) {
      return FindHelpers(IdOf(change_)).empty()
                 ? absl::AbortedError(absl::StrCat("no helper is left in ", change_.object()))
                 : absl::OkStatus();
    }
    if (process_ == nullptr || !process_->Running()) {
      return absl::AbortedError(absl::StrCat("the helper in ", change_.object(),
                                             " has ended: killed, perhaps for want of memory"));
    }
    absl::StatusOr<const CgroupTree::Hierarchy*> hierarchy = cgroups_->HierarchyOf("memory");
    if (!hierarchy.ok()) return hierarchy.status();
    const absl::StatusOr<std::string> now = cgroups_->tree().PathOf(process_->pid(), **hierarchy);
    if (!now.ok()) return absl::AbortedError(now.status().message());
    if (*now == change_.object()) return CheckTargetLives();
    return absl::AbortedError(
        absl::StrCat("somebody else moved the helper of ", change_.object(), " to ", *now));
  }

  // The helper says itself when it gave the memory back.
  Ended OverBy(std::int64_t /*deadline_ns*/) override {
    Ended ended;
    if (report_ == nullptr || report_->report().closed_ns.load() == 0) return ended;
    ended.earliest_ns = report_->report().closing_ns.load();
    ended.latest_ns = report_->report().closed_ns.load();
    return ended;
  }

  absl::Status Restore() override {
    absl::Status ended = process_ == nullptr ? EndFound() : EndOwn();
    if (!ended.ok()) return ended;
    const std::string report = ReportOf(change_);
    if (report.empty() || ::unlink(report.c_str()) == 0 || errno == ENOENT) return ended;
    return ErrnoStatus(errno, absl::StrCat("remove ", report));
  }

  absl::Status Residue() override {
    const std::vector<pid_t> left = FindHelpers(IdOf(change_));
    if (left.empty()) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat("helper process ", left.front(), " still holds memory in ", change_.object()));
  }

  Evidence Measure() override {
    Evidence evidence;
    if (report_ == nullptr) {
      if (recovered_) evidence.missing = "the helper's report is gone";
      return evidence;
    }
    const HoldReport& report = report_->report();
    const std::int64_t held = report.held_bytes.load();
    evidence.dose.push_back(MakeDose("held_bytes", "By", held, true));
    evidence.first_touch_ns = report.first_touch_ns.load();
    evidence.last_touch_ns = report.last_touch_ns.load();
    evidence.error_ns = report.step_ns.load();
    return evidence;
  }

 private:
  absl::Status EndOwn() {
    absl::Status ended = process_->End();
    if (!absl::IsUnavailable(ended)) return ended;
    Thaw(process_->pid());
    return process_->End();
  }

  absl::Status EndFound() const {
    for (const pid_t pid : FindHelpers(IdOf(change_))) {
      absl::Status ended = KillHelper(pid, IdOf(change_));
      if (absl::IsUnavailable(ended)) {
        Thaw(pid);
        ended = KillHelper(pid, IdOf(change_));
      }
      if (!ended.ok()) return ended;
    }
    return absl::OkStatus();
  }

  // A group that never had another process waits for one.
  absl::Status CheckTargetLives() {
    const absl::StatusOr<bool> others =
        cgroups_->HasProcess(change_.object(), "memory", process_->pid());
    if (!others.ok()) return others.status();
    had_others_ = had_others_ || *others;
    if (*others || !had_others_) return absl::OkStatus();
    return absl::NotFoundError(
        absl::StrCat("no process but the helper is left in control group ", change_.object()));
  }

  absl::Status Move() {
    absl::Status moved = cgroups_->Attach(change_.object(), "memory", process_->pid());
    if (!moved.ok()) return moved;
    // On a hybrid host the v2 group only tells metrics apart; the freezer is v1's.
    const CgroupTree& tree = cgroups_->tree();
    const CgroupTree::Hierarchy* v2 = tree.V2();
    const CgroupTree::Hierarchy* freezer = tree.For("freezer");
    if (tree.mode() != "hybrid" || v2 == freezer) return absl::OkStatus();
    const std::string directory = CgroupTree::Directory(*v2, change_.object());
    if (::access(directory.c_str(), F_OK) != 0) return absl::OkStatus();
    std::ofstream procs(directory + "/cgroup.procs");
    procs << process_->pid() << std::flush;
    return absl::OkStatus();
  }

  // A task of a frozen v1 group dies only when it is thawed, and it thaws when it leaves the group.
  void Thaw(pid_t pid) const {
    [[maybe_unused]] const absl::Status moved = cgroups_->Attach("/", "freezer", pid);
  }

  const Cgroups* cgroups_;
  const std::string program_;
  const std::vector<std::string> arguments_;
  const v1::Change change_;
  std::unique_ptr<HoldReportFile> report_;
  std::unique_ptr<HoldProcess> process_;
  const bool recovered_ = false;
  bool had_others_ = false;
};

}  // namespace

std::string SpellBytes(std::int64_t bytes) {
  constexpr std::pair<const char*, std::int64_t> kUnits[] = {{"TiB", std::int64_t{1} << 40},
                                                             {"GiB", std::int64_t{1} << 30},
                                                             {"MiB", std::int64_t{1} << 20},
                                                             {"KiB", std::int64_t{1} << 10}};
  for (const auto& unit : kUnits) {
    if (bytes < unit.second) continue;
    // In 1024ths of the unit first: the greatest size times ten would not fit.
    const std::int64_t tenths = bytes / (unit.second / 1024) * 10 / 1024;
    const std::string tail = tenths % 10 == 0 ? "" : absl::StrCat(".", tenths % 10);
    return absl::StrCat(tenths / 10, tail, " ", unit.first);
  }
  return absl::StrCat(bytes, " B");
}

absl::Status CheckHeadRoom(absl::string_view meminfo, std::int64_t bytes) {
  const std::int64_t total = MeminfoBytes(meminfo, "MemTotal:");
  const std::int64_t available = MeminfoBytes(meminfo, "MemAvailable:");
  if (total < 0 || available < 0) {
    return absl::InternalError("/proc/meminfo shows no MemTotal or no MemAvailable");
  }
  const std::int64_t spare = available - total / 10;
  if (bytes <= spare) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(
      "the host has ", SpellBytes(available), " available and a tenth of its ", SpellBytes(total),
      " must stay: hold at most ", SpellBytes(spare < 0 ? 0 : spare), ", not ", SpellBytes(bytes)));
}

LeverOr MakeLeak(const Cgroups* cgroups, const LeakOptions& options, const LeakSpec& spec) {
  if (absl::StatusOr<std::string> group = cgroups->DirectoryOf(spec.cgroup, "memory");
      !group.ok()) {
    return group.status();
  }
  if (::access(options.helper.c_str(), X_OK) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("the helper program ", options.helper, " is not there; give --helper"));
  }
  absl::StatusOr<std::string> meminfo = ReadText(options.meminfo);
  if (!meminfo.ok()) return meminfo.status();
  if (absl::Status room = CheckHeadRoom(*meminfo, spec.bytes); !room.ok()) return room;
  v1::Change change;
  change.set_kind("helper");
  change.set_object(spec.cgroup);
  change.set_attribute("held_bytes");
  change.set_after(absl::StrCat(kIdKey, spec.fault_id, " bytes=", spec.bytes,
                                " rate=", spec.bytes_per_second, kReportKey, options.report_dir,
                                "/hold-", spec.fault_id));
  std::vector<std::string> arguments{kHoldFaultFlag, spec.fault_id,
                                     "--bytes",      absl::StrCat(spec.bytes),
                                     "--rate",       absl::StrCat(spec.bytes_per_second)};
  return std::make_unique<LeakLever>(cgroups, options.helper, std::move(arguments),
                                     std::move(change));
}

LeverOr RecoverLeak(const Cgroups* cgroups, const v1::Change& change) {
  if (IdOf(change).empty()) {
    return absl::InvalidArgumentError("the journal names no fault for a helper process");
  }
  return std::make_unique<LeakLever>(cgroups, change);
}

}  // namespace faultline
