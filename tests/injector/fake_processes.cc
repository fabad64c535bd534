// SPDX-License-Identifier: Apache-2.0
#include "tests/injector/fake_processes.h"

#include <csignal>

#include "absl/strings/str_cat.h"

namespace faultline {
namespace {

absl::Status NoProcess(pid_t pid) {
  return absl::NotFoundError(absl::StrCat("there is no process ", pid));
}

}  // namespace

class FakeProcesses::Opened final : public Process {
 public:
  Opened(FakeProcesses* processes, pid_t pid, std::int64_t start_time)
      : processes_(processes), pid_(pid), start_time_(start_time) {}

  // Sent or refused, never lost.
  absl::Status Signal(int signal) override {
    absl::Status before = processes_->step_("change");
    if (!before.ok() && !absl::IsDataLoss(before)) return before;
    if (Ended()) return NoProcess(pid_);
    processes_->all[pid_].signals.push_back(signal);
    const bool kept = signal == 0 || (signal != SIGKILL && processes_->handled.count(signal) == 1);
    if (!kept) processes_->all.erase(pid_);
    absl::Status after = processes_->step_("change");
    return absl::IsDataLoss(after) ? absl::OkStatus() : after;
  }
  bool Ended() const override { return !processes_->Runs(pid_, start_time_); }

 private:
  FakeProcesses* const processes_;
  const pid_t pid_;
  const std::int64_t start_time_;
};

pid_t FakeProcesses::Add(const std::string& cgroup) {
  ++last_;
  all[last_] = {cgroup, last_ * 10};
  return last_;
}

bool FakeProcesses::Runs(pid_t pid, std::int64_t start_time) const {
  const auto at = all.find(pid);
  return at != all.end() && at->second.start_time == start_time;
}

absl::StatusOr<std::unique_ptr<Process>> FakeProcesses::Open(pid_t pid) {
  if (absl::Status status = step_("read"); !status.ok()) return status;
  const auto at = all.find(pid);
  if (at == all.end()) return NoProcess(pid);
  return std::make_unique<Opened>(this, pid, at->second.start_time);
}

absl::StatusOr<std::int64_t> FakeProcesses::StartTime(pid_t pid) const {
  if (absl::Status status = step_("read"); !status.ok()) return status;
  const auto at = all.find(pid);
  if (at == all.end()) return NoProcess(pid);
  return at->second.start_time;
}

absl::Status FakeProcesses::CheckOrdinary(pid_t pid) const {
  const auto at = all.find(pid);
  if (at == all.end()) return NoProcess(pid);
  if (at->second.kept.empty()) return absl::OkStatus();
  return absl::FailedPreconditionError(at->second.kept);
}

}  // namespace faultline
