// SPDX-License-Identifier: Apache-2.0
//
// process.kill: a process of the group that is started again whenever it ended, as by a service
// manager, and whose parent sees each end.
#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "tests/trials/doses.h"
#include "tests/trials/families.h"
#include "tests/witness/now.h"
#include "tests/witness/processes.h"

namespace faultline {
namespace {

// Who watches over it, on a thread of its own; meanwhile nobody else uses the group.
class Restarts {
 public:
  explicit Restarts(TestCgroup* group) : group_(group) {
    thread_ = std::jthread([this] { Watch(); });
  }
  ~Restarts() { (void)Finish(); }
  Restarts(const Restarts&) = delete;
  Restarts& operator=(const Restarts&) = delete;

  // Whether the first one runs.
  bool running() const { return running_; }
  // Ends the last one; when each of those before it ended by SIGKILL.
  const std::vector<std::int64_t>& Finish() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
    return ends_;
  }

 private:
  static constexpr int kPatienceMs = 5;

  void Watch() {
    witness::BePunctual();
    while (!stop_) {
      const absl::StatusOr<pid_t> pid = group_->Spawn([] { return ::pause(); });
      if (!pid.ok()) return;
      running_ = true;
      const witness::Life life(*pid);
      std::int64_t end_ns = 0;
      while (end_ns == 0 && !stop_) end_ns = life.AwaitEndNs(kPatienceMs);
      if (end_ns == 0) ::kill(*pid, SIGKILL);
      if (group_->Wait(*pid) == 128 + SIGKILL && end_ns != 0) ends_.push_back(end_ns);
    }
  }

  TestCgroup* const group_;
  std::vector<std::int64_t> ends_;
  std::atomic<bool> running_ = false;
  std::atomic<bool> stop_ = false;
  std::jthread thread_;
};

class KillFamily final : public Family {
 public:
  explicit KillFamily(TrialSite* site) : site_(site) {}

  absl::StatusOr<Trial> Run() override {
    Restarts restarts(&site_->group());
    for (int i = 0; i < 5000 && !restarts.running(); ++i) witness::SleepForMs(1);
    // At the start, and once more.
    v1::FaultSpec spec = site_->Spec("process.kill", kSeconds);
    (*spec.mutable_parameters())["every"] = "200ms";
    absl::StatusOr<v1::FaultState> ended = site_->Run(spec);
    const std::vector<std::int64_t>& ends = restarts.Finish();
    if (!ended.ok()) return ended.status();
    Trial trial;
    trial.state = *std::move(ended);
    trial.counted = static_cast<std::int64_t>(ends.size());
    trial.told = DoseOf(trial.state, "processes_ended");
    if (!ends.empty()) trial.seen = {ends.front(), ends.back(), ends.back()};
    return trial;
  }

 private:
  static constexpr double kSeconds = 0.3;

  TrialSite* const site_;
};

}  // namespace

FamilyOr MakeKill(TrialSite* site) { return std::make_unique<KillFamily>(site); }

absl::StatusOr<GivenDose> MeasureKills(TrialSite* site, double processes) {
  std::vector<pid_t> pids;
  while (pids.size() < static_cast<std::size_t>(processes)) {
    const absl::StatusOr<pid_t> pid = site->group().Spawn([] { return ::pause(); });
    if (!pid.ok()) return pid.status();
    pids.push_back(*pid);
  }
  const absl::StatusOr<v1::FaultState> ended = site->Run(site->Spec("process.kill", 0.3));
  int killed = 0;
  for (const pid_t pid : pids) {
    if (witness::Life(pid).AwaitEndNs(0) == 0) continue;
    if (site->group().Wait(pid) == 128 + SIGKILL) ++killed;
  }
  site->group().Empty();
  if (!ended.ok()) return ended.status();
  // None more, none less.
  return GivenDose{static_cast<double>(killed),
                   static_cast<double>(DoseOf(*ended, "processes_ended")), 0};
}

}  // namespace faultline
