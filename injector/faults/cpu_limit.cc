// SPDX-License-Identifier: Apache-2.0
//
// cpu.limit: a quota of CPU time per period, cpu.cfs_quota_us on cgroup v1 and cpu.max on v2.
#include <algorithm>
#include <cmath>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "injector/faults/counters.h"
#include "injector/faults/cpu_bandwidth.h"
#include "injector/faults/fault.h"
#include "injector/host/throttle_lever.h"

namespace faultline {
namespace {

constexpr std::int64_t kNsPerUs = 1000;
// The kernel takes no quota below 1 ms (min_cfs_quota_period, kernel/sched/core.c).
constexpr std::int64_t kMinQuotaUs = 1000;

// What cpu.stat says so far: ns and periods.
absl::StatusOr<Growth::Readings> ReadThrottling(Host& host, const std::string& cgroup) {
  const absl::StatusOr<std::string> text = host.ReadCgroup(cgroup, "cpu", "cpu.stat");
  if (!text.ok()) return text.status();
  // v1 counts ns, v2 us, and each has only its own line.
  const std::int64_t ns =
      CountOf(*text, "throttled_time") + CountOf(*text, "throttled_usec") * kNsPerUs;
  return Growth::Readings{ns, CountOf(*text, "nr_throttled")};
}

class CpuLimit final : public Fault {
 public:
  absl::Status Plan(Host& host, const Request& request, std::vector<std::unique_ptr<Lever>>* levers,
                    std::vector<std::string>* notes) override {
    cgroup_ = request.cgroup;
    period_ns_ = request.parameters.Integer("period");
    const double cpus = request.parameters.Number("cpus");
    Bandwidth wanted;
    wanted.period_us = period_ns_ / kNsPerUs;
    wanted.quota_us = std::llround(cpus * static_cast<double>(wanted.period_us));
    if (*wanted.quota_us < kMinQuotaUs) {
      return absl::InvalidArgumentError(absl::StrCat(
          "cpu.limit: ", cpus, " CPU of a period of ", wanted.period_us / 1000,
          " ms is less than the kernel's least quota of 1 ms; take a period of at least ",
          std::ceil(1.0 / cpus), "ms"));
    }
    absl::StatusOr<std::string> version = host.ControllerVersion("cpu");
    if (!version.ok()) return version.status();
    absl::StatusOr<Bandwidth> now = ReadBandwidth(host, cgroup_, *version == "v1");
    if (!now.ok()) return now.status();
    if (absl::Status status = CheckTighter(*now, wanted); !status.ok()) return status;
    const absl::StatusOr<Growth::Readings> before = ReadThrottling(host, cgroup_);
    if (!before.ok()) return before.status();
    start_ns_ = request.start_ns;
    growth_.Begin(*before, start_ns_);
    if (now->quota_us.has_value()) {
      notes->push_back(absl::StrCat(
          "the group is limited to ", Ratio(*now), " CPU already (",
          absl::FormatDuration(absl::Microseconds(*now->quota_us)), " in ",
          absl::FormatDuration(absl::Microseconds(now->period_us)), "); that limit comes back"));
    }
    if (const int has = host.Cpus(); has > 0 && cpus >= has) {
      notes->push_back(absl::StrCat("the host has ", has, has == 1 ? " CPU" : " CPUs",
                                    ", so the group could not use more than cpus=", cpus,
                                    " anyway: expect no effect; ask for less than ", has));
    }
    AddWatch(host, now->quota_us.has_value(), levers, notes);
    const std::vector<Bandwidth> steps =
        StepsOf(request.shape, BoundOf(host, cgroup_, *version == "v1").cpus, wanted);
    return *version == "v1" ? AddV1(host, *now, wanted, steps, levers)
                            : AddV2(host, wanted, steps, levers);
  }

  std::vector<v1::Dose> Baseline() const override { return growth_.Baseline(); }

  // A group that has a limit already may have been throttled since the plan.
  void Refresh(Host& host) override {
    const absl::StatusOr<Growth::Readings> now = ReadThrottling(host, cgroup_);
    if (now.ok()) growth_.Begin(*now, start_ns_);
  }

  // cpu.stat outlives us, and so does the quota: what was throttled meanwhile counts as well.
  void Resume(const v1::FaultState& state, const Parameters& parameters) override {
    cgroup_ = state.cgroup();
    period_ns_ = parameters.Integer("period");
    growth_.Resume(state);
  }

  // Where no program sees the run queues, the touches are the reads of cpu.stat at which a count
  // had moved. The kernel counts a throttled period at its end, one period late at most.
  Evidence Measure(Host& host, absl::Span<const std::unique_ptr<Lever>> levers,
                   std::int64_t now_ns) override {
    const bool moved = growth_.Take(ReadThrottling(host, cgroup_), now_ns);
    const std::optional<Evidence> seen = Watched(levers);
    if (seen.has_value()) {
      growth_.SetTouches(seen->first_touch_ns, seen->last_touch_ns);
    } else if (moved) {
      growth_.Touch(now_ns, growth_.gap_ns() + period_ns_);
    }
    return growth_.evidence();
  }

 private:
  // First of the levers, so that no task is held back unseen. The fault does without.
  void AddWatch(Host& host, bool limited, std::vector<std::unique_ptr<Lever>>* levers,
                std::vector<std::string>* notes) const {
    // What the limit that stood before holds back looks the same, and would be stamped without
    // error.
    LeverOr watch = limited ? absl::FailedPreconditionError("the limit of before throttles as well")
                            : host.WatchThrottling(cgroup_);
    if (watch.ok()) {
      levers->push_back(*std::move(watch));
      return;
    }
    notes->push_back(absl::StrCat(
        "first_touch and last_touch are read from cpu.stat, up to a period and a read late: ",
        watch.status().message()));
  }

  // What the programs saw; none: there are none.
  static std::optional<Evidence> Watched(absl::Span<const std::unique_ptr<Lever>> levers) {
    if (levers.empty() || levers.front()->change().kind() != kWatchKind) return std::nullopt;
    Evidence seen = levers.front()->Measure();
    if (!seen.missing.empty()) return std::nullopt;
    return seen;
  }

  static absl::Status CheckTighter(const Bandwidth& now, const Bandwidth& wanted) {
    if (!now.quota_us.has_value()) return absl::OkStatus();
    const double has = Ratio(now);
    const double gets = Ratio(wanted);
    if (gets < has) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat(
        "cpu.limit: the group is limited to ", has,
        " CPU already, so this would give it more or the same; ask for less than ", has));
  }

  // What a ramp passes from `cpus` to `wanted`, in whole percents of a CPU, as systemd keeps them.
  static std::vector<Bandwidth> StepsOf(const Shape& shape, double cpus, const Bandwidth& wanted) {
    std::vector<Bandwidth> steps;
    const double wants = Ratio(wanted);
    for (int i = 0; i < shape.steps(); ++i) {
      const double exact = cpus - (cpus - wants) * shape.LevelOfStep(i);
      const double whole = std::max(wants, std::floor(exact * 100) / 100);
      steps.push_back(wanted);
      steps.back().quota_us = std::llround(whole * static_cast<double>(wanted.period_us));
    }
    return steps;
  }

  // A step between the two writes must never allow more than both ends do: v1 refuses a group that
  // may use more than its parent.
  absl::Status AddV1(Host& host, const Bandwidth& now, const Bandwidth& wanted,
                     const std::vector<Bandwidth>& steps,
                     std::vector<std::unique_ptr<Lever>>* levers) const {
    LeverOr period =
        host.CgroupValue(cgroup_, "cpu", "cpu.cfs_period_us", absl::StrCat(wanted.period_us), {});
    if (!period.ok()) return period.status();
    std::vector<std::string> quotas;
    for (const Bandwidth& step : steps) quotas.push_back(absl::StrCat(*step.quota_us));
    LeverOr quota = host.CgroupValue(cgroup_, "cpu", "cpu.cfs_quota_us",
                                     absl::StrCat(*wanted.quota_us), quotas);
    if (!quota.ok()) return quota.status();
    const bool quota_first = now.quota_us.has_value() && wanted.period_us < now.period_us;
    levers->push_back(std::move(quota_first ? *quota : *period));
    levers->push_back(std::move(quota_first ? *period : *quota));
    return absl::OkStatus();
  }

  absl::Status AddV2(Host& host, const Bandwidth& wanted, const std::vector<Bandwidth>& steps,
                     std::vector<std::unique_ptr<Lever>>* levers) const {
    const auto text = [](const Bandwidth& bandwidth) {
      return absl::StrCat(*bandwidth.quota_us, " ", bandwidth.period_us);
    };
    std::vector<std::string> values;
    for (const Bandwidth& step : steps) values.push_back(text(step));
    LeverOr lever = host.CgroupValue(cgroup_, "cpu", "cpu.max", text(wanted), values);
    if (!lever.ok()) return lever.status();
    levers->push_back(std::move(*lever));
    return absl::OkStatus();
  }

  std::string cgroup_;
  std::int64_t period_ns_ = 0;
  std::int64_t start_ns_ = 0;
  Growth growth_{{{"throttled_ns", "ns"}, {"throttled_periods", "{period}"}}, "cpu.stat"};
};

}  // namespace

std::unique_ptr<Fault> MakeCpuLimit() { return std::make_unique<CpuLimit>(); }

absl::Status ProbeCpuLimit(Host& host) { return host.ControllerVersion("cpu").status(); }

}  // namespace faultline
