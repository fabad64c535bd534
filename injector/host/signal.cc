// SPDX-License-Identifier: Apache-2.0
#include "injector/host/signal.h"

#include <algorithm>
#include <csignal>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "injector/host/dose.h"

namespace faultline {
namespace {

// Most processes that a fault watches for their end, a descriptor each: the service has them for as
// many faults as --max-faults can allow (LimitNOFILE= of systemd/faultline-injector.service).
constexpr size_t kMostWatched = 500;
// Looks at a group for what was forked while it was signalled.
constexpr int kPasses = 3;

// Of kNoSignal 0, for which the kernel only looks whether it could be sent (kill(2)).
std::optional<int> NumberOf(absl::string_view signal) {
  constexpr std::pair<absl::string_view, int> kSignals[] = {
      {"KILL", SIGKILL}, {"TERM", SIGTERM}, {"INT", SIGINT},   {"HUP", SIGHUP}, {"QUIT", SIGQUIT},
      {"ABRT", SIGABRT}, {"USR1", SIGUSR1}, {"USR2", SIGUSR2}, {kNoSignal, 0}};
  const auto* const found = std::find_if(std::begin(kSignals), std::end(kSignals),
                                         [&](const auto& one) { return one.first == signal; });
  if (found == std::end(kSignals)) return std::nullopt;
  return found->second;
}

absl::Status TooMany(const std::string& cgroup, size_t count) {
  return absl::FailedPreconditionError(absl::StrCat("control group ", cgroup, " has ", count,
                                                    " processes, and at most ", kMostWatched,
                                                    " can be signalled; name a group inside it"));
}

class SignalLever final : public Lever {
 public:
  SignalLever(const SignalHost& host, SignalSpec spec, int number, std::int64_t start_time,
              v1::Change change)
      : host_(host),
        spec_(std::move(spec)),
        number_(number),
        start_time_(start_time),
        change_(std::move(change)) {}

  const v1::Change& change() const override { return change_; }

  absl::Status Apply() override {
    if (spec_.pid == 0) return SendToAll();
    DropEnded();
    const absl::StatusOr<bool> sent = SendTo(spec_.pid);
    if (!sent.ok() || *sent) return sent.status();
    return absl::FailedPreconditionError(absl::StrCat(
        "process ", spec_.pid, " has ended since it was looked at",
        host_.processes->StartTime(spec_.pid).ok() ? ", and its number is another's" : "",
        "; nothing was sent"));
  }

  // The beginning of a pulse.
  absl::Status SetLevel(double level) override {
    if (level <= 0) return absl::OkStatus();
    DropEnded();
    return spec_.pid == 0 ? SendToAll() : SendTo(spec_.pid).status();
  }

  // What was sent was sent; what becomes of the target is the effect.
  absl::Status Verify() override { return absl::OkStatus(); }
  absl::Status Restore() override { return absl::OkStatus(); }
  absl::Status Residue() override { return absl::OkStatus(); }

  Evidence Measure() override {
    DropEnded();
    Evidence evidence;
    evidence.dose = {MakeDose("processes_signalled", "{process}", signalled_),
                     MakeDose("processes_ended", "{process}", ended_),
                     MakeDose("signals_sent", "{signal}", sent_)};
    evidence.first_touch_ns = first_ns_;
    evidence.last_touch_ns = last_ns_;
    evidence.error_ns = error_ns_;
    return evidence;
  }

 private:
  absl::Status SendToAll() {
    std::set<pid_t> done;
    bool more = true;
    for (int pass = 0; pass < kPasses && more; ++pass) {
      const absl::StatusOr<std::vector<pid_t>> found = host_.cgroups->ProcessesOf(spec_.cgroup);
      // It comes back when its service is started again.
      if (absl::IsNotFound(found.status())) return absl::OkStatus();
      if (!found.ok()) return found.status();
      more = false;
      for (const pid_t pid : *found) {
        if (pid <= 1 || !done.insert(pid).second) continue;
        const absl::StatusOr<bool> sent = SendTo(pid);
        if (!sent.ok()) return sent.status();
        more = more || *sent;
      }
    }
    return absl::OkStatus();
  }

  // False: it has ended, or is not one that may get it.
  absl::StatusOr<bool> SendTo(pid_t pid) {
    if (watched_.size() >= kMostWatched) DropEnded();
    const bool known = watched_.count(pid) == 1;
    if (!known && watched_.size() >= kMostWatched) return TooMany(spec_.cgroup, watched_.size());
    std::unique_ptr<Process> opened;
    if (!known) {
      absl::StatusOr<std::unique_ptr<Process>> process = host_.processes->Open(pid);
      // Of a group of threads, each is listed.
      if (absl::IsInvalidArgument(process.status())) return false;
      if (!process.ok()) return ButGone(process.status());
      opened = *std::move(process);
    }
    // All of this is of the process that was opened: if the number has become another's since, the
    // signal meets nobody.
    const absl::StatusOr<bool> meant = IsMeant(pid);
    if (!meant.ok() || !*meant) return meant;
    Process& process = known ? *watched_[pid] : *opened;
    const std::int64_t begin_ns = host_.clock->Now().boottime_ns;
    const absl::Status sent = process.Signal(number_);
    if (!sent.ok()) return ButGone(sent);
    Stamp(begin_ns);
    if (known) return true;
    ++signalled_;
    watched_[pid] = std::move(opened);
    return true;
  }

  absl::StatusOr<bool> IsMeant(pid_t pid) const {
    if (const absl::Status may = host_.processes->CheckOrdinary(pid); !may.ok()) {
      return absl::IsFailedPrecondition(may) ? absl::StatusOr<bool>(false) : ButGone(may);
    }
    if (spec_.pid != 0) {
      const absl::StatusOr<std::int64_t> now = host_.processes->StartTime(pid);
      return now.ok() ? absl::StatusOr<bool>(*now == start_time_) : ButGone(now.status());
    }
    if (host_.helpers->IsHelper(pid)) return false;
    const absl::StatusOr<bool> inside = host_.cgroups->Holds(spec_.cgroup, pid);
    return inside.ok() ? inside : ButGone(inside.status());
  }

  // False where it has ended, the error of anything else.
  static absl::StatusOr<bool> ButGone(const absl::Status& status) {
    if (absl::IsNotFound(status)) return false;
    return status;
  }

  void Stamp(std::int64_t begin_ns) {
    last_ns_ = host_.clock->Now().boottime_ns;
    if (first_ns_ == 0) first_ns_ = last_ns_;
    error_ns_ = std::max(error_ns_, last_ns_ - begin_ns);
    ++sent_;
  }

  void DropEnded() {
    ended_ += static_cast<std::int64_t>(
        std::erase_if(watched_, [](const auto& one) { return one.second->Ended(); }));
  }

  const SignalHost host_;
  const SignalSpec spec_;
  const int number_;
  // Of the one process.
  const std::int64_t start_time_;
  const v1::Change change_;
  // Signalled, and not seen to end.
  std::map<pid_t, std::unique_ptr<Process>> watched_;
  std::int64_t signalled_ = 0;
  std::int64_t ended_ = 0;
  std::int64_t sent_ = 0;
  std::int64_t first_ns_ = 0;
  std::int64_t last_ns_ = 0;
  std::int64_t error_ns_ = 0;
};

// Of a process of ours that is gone.
class SignalOfThePast final : public Lever {
 public:
  explicit SignalOfThePast(v1::Change change) : change_(std::move(change)) {}
  const v1::Change& change() const override { return change_; }
  absl::Status Apply() override { return absl::UnimplementedError("it was sent before"); }
  absl::Status Verify() override {
    return absl::AbortedError("nobody sends signals any more: that ended with the injector");
  }
  Ended OverBy(std::int64_t deadline_ns) override { return {0, deadline_ns}; }
  absl::Status Restore() override { return absl::OkStatus(); }
  absl::Status Residue() override { return absl::OkStatus(); }

 private:
  const v1::Change change_;
};

}  // namespace

LeverOr MakeSignal(const SignalHost& host, const SignalSpec& spec) {
  const std::optional<int> number = NumberOf(spec.signal);
  if (!number) {
    return absl::InvalidArgumentError(absl::StrCat("there is no signal ", spec.signal));
  }
  v1::Change change;
  change.set_kind("signal");
  change.set_attribute("processes");
  change.set_object(spec.cgroup);
  change.set_after(*number == 0 ? "no signal" : absl::StrCat("SIG", spec.signal));
  std::int64_t start_time = 0;
  if (spec.pid != 0) {
    if (absl::Status may = host.processes->CheckOrdinary(spec.pid); !may.ok()) return may;
    if (host.helpers->IsHelper(spec.pid)) {
      return absl::FailedPreconditionError(
          absl::StrCat("process ", spec.pid, " is the helper of another fault; stop that instead"));
    }
    const absl::StatusOr<std::int64_t> started = host.processes->StartTime(spec.pid);
    if (!started.ok()) return started.status();
    start_time = *started;
    change.set_object(absl::StrCat("process ", spec.pid));
    change.set_before(absl::StrCat("start=", start_time));
  } else {
    const absl::StatusOr<std::vector<pid_t>> found = host.cgroups->ProcessesOf(spec.cgroup);
    if (!found.ok()) return found.status();
    if (found->size() > kMostWatched) return TooMany(spec.cgroup, found->size());
  }
  return std::make_unique<SignalLever>(host, spec, *number, start_time, std::move(change));
}

LeverOr RecoverSignal(const v1::Change& change) {
  return std::make_unique<SignalOfThePast>(change);
}

}  // namespace faultline
