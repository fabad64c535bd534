// SPDX-License-Identifier: Apache-2.0
//
// cpu.limit, process.pause and mem.leak: a process of the group stands still, or its memory grows.

#include <chrono>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/kernel/watched_spinner.h"
#include "tests/trials/families.h"
#include "tests/witness/now.h"
#include "tests/witness/readings.h"
#include "tests/witness/stalls.h"

namespace faultline {
namespace {

// With a process in the group that reads the clock all the time.
class StallFamily : public Family {
 public:
  StallFamily(TrialSite* site, std::int64_t shortest_ns) : site_(site), shortest_ns_(shortest_ns) {}

  absl::Status Begin() {
    absl::StatusOr<std::unique_ptr<WatchedSpinner>> spinner =
        WatchedSpinner::Start(&site_->group(), shortest_ns_);
    if (!spinner.ok()) return spinner.status();
    spinner_ = *std::move(spinner);
    return absl::OkStatus();
  }

  absl::StatusOr<Trial> Run() override {
    witness::SleepForMs(kTrialBesideMs);
    const std::int64_t begin_ns = witness::NowNs();
    absl::StatusOr<v1::FaultState> ended = site_->Run(Spec());
    if (!ended.ok()) return ended.status();
    witness::SleepForMs(kTrialBesideMs);
    Trial trial;
    trial.state = *std::move(ended);
    const witness::Stall effect = Effect(spinner_->Since(begin_ns));
    trial.seen = {effect.begin_ns, effect.end_ns, effect.end_ns, effect.blind_ns()};
    return trial;
  }

 protected:
  virtual v1::FaultSpec Spec() = 0;
  virtual witness::Stall Effect(std::vector<witness::Stall> stalls) = 0;

  TrialSite* const site_;

 private:
  const std::int64_t shortest_ns_;
  std::unique_ptr<WatchedSpinner> spinner_;
};

// Sees a file's first number change, to a fifth of a millisecond.
class ChangeWatch {
 public:
  explicit ChangeWatch(std::string file)
      : file_(std::move(file)),
        first_(witness::NumberIn(file_)),
        thread_([this](const std::stop_token& stop) { Watch(stop); }) {}

  // Ends the watch: when it was last seen as it was at first.
  std::int64_t Finish() {
    thread_.request_stop();
    thread_.join();
    return unchanged_ns_;
  }

 private:
  void Watch(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      const std::int64_t now_ns = witness::NowNs();
      if (witness::NumberIn(file_) != first_) return;
      unchanged_ns_ = now_ns;
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  }

  const std::string file_;
  const std::int64_t first_;
  std::int64_t unchanged_ns_ = 0;
  std::jthread thread_;
};

class LimitFamily final : public StallFamily {
 public:
  explicit LimitFamily(TrialSite* site) : StallFamily(site, kShortestNs) {}

  absl::StatusOr<Trial> Run() override {
    quota_.emplace(site_->QuotaFile());
    return StallFamily::Run();
  }

 private:
  // The first period of a quota is cut short anywhere, and its stall as short as that.
  static constexpr std::int64_t kShortestNs = witness::kMs / 2;
  // 2.5 ms of quota, which the kernel notices at its next tick, 4 ms apart at 250 Hz; then 45 ms of
  // standing still: longer than this host's own pauses are.
  static constexpr std::int64_t kSureNs = 20 * witness::kMs;
  static constexpr std::int64_t kRunNs = 10 * witness::kMs;

  v1::FaultSpec Spec() override {
    v1::FaultSpec spec = site_->Spec("cpu.limit", kTrialSeconds);
    (*spec.mutable_parameters())["cpus"] = "0.05";
    (*spec.mutable_parameters())["period"] = "50ms";
    return spec;
  }
  // What stood still before there was a quota did so for another reason.
  witness::Stall Effect(std::vector<witness::Stall> stalls) override {
    const std::int64_t unlimited_ns = quota_->Finish();
    std::erase_if(stalls, [unlimited_ns](const witness::Stall& stall) {
      return stall.end_ns <= unlimited_ns;
    });
    return witness::Chain(stalls, kSureNs, kRunNs);
  }

  std::optional<ChangeWatch> quota_;
};

class PauseFamily final : public StallFamily {
 public:
  explicit PauseFamily(TrialSite* site) : StallFamily(site, 2 * witness::kMs) {}

 private:
  v1::FaultSpec Spec() override { return site_->Spec("process.pause", kTrialSeconds); }
  witness::Stall Effect(std::vector<witness::Stall> stalls) override {
    return witness::Longest(stalls);
  }
};

class LeakFamily final : public Family {
 public:
  explicit LeakFamily(TrialSite* site) : site_(site) {}

  absl::StatusOr<Trial> Run() override {
    witness::Reader memory(site_->MemoryCount());
    witness::SleepForMs(kTrialBesideMs);
    v1::FaultSpec spec = site_->Spec("mem.leak", kTrialSeconds);
    (*spec.mutable_parameters())["bytes"] = "16MiB";
    (*spec.mutable_parameters())["rate"] = "64MiB/s";
    absl::StatusOr<v1::FaultState> ended = site_->Run(spec);
    witness::SleepForMs(kTrialBesideMs);
    const witness::Growth growth = witness::GrowthOf(memory.Finish(), kBlurBytes);
    if (!ended.ok()) return ended.status();
    Trial trial;
    trial.state = *std::move(ended);
    trial.seen = {growth.begin_ns, growth.last_ns, growth.end_ns};
    return trial;
  }

 private:
  // The kernel charges 64 pages ahead for each CPU (MEMCG_CHARGE_BATCH), and the helper's own stack
  // and tables count too.
  static constexpr std::int64_t kBlurBytes = 1 << 20;

  TrialSite* const site_;
};

template <typename T>
FamilyOr MakeStalling(TrialSite* site) {
  auto family = std::make_unique<T>(site);
  if (absl::Status status = family->Begin(); !status.ok()) return status;
  return family;
}

}  // namespace

FamilyOr MakeLimit(TrialSite* site) { return MakeStalling<LimitFamily>(site); }
FamilyOr MakePause(TrialSite* site) { return MakeStalling<PauseFamily>(site); }

FamilyOr MakeLeak(TrialSite* site) {
  if (absl::Status status = site->AddSleeper(); !status.ok()) return status;
  return std::make_unique<LeakFamily>(site);
}

}  // namespace faultline
