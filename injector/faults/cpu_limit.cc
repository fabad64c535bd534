// SPDX-License-Identifier: Apache-2.0
//
// cpu.limit: a quota of CPU time per period, cpu.cfs_quota_us on cgroup v1 and cpu.max on v2.
#include <cmath>
#include <optional>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "injector/faults/fault.h"
#include "injector/host/dose.h"

namespace faultline {
namespace {

constexpr std::int64_t kNsPerUs = 1000;
// The kernel takes no quota below 1 ms (min_cfs_quota_period, kernel/sched/core.c).
constexpr std::int64_t kMinQuotaUs = 1000;

// Bandwidth of a group: `quota_us` of CPU time per `period_us`; no quota is no limit.
struct Bandwidth {
  std::optional<std::int64_t> quota_us;
  std::int64_t period_us = 0;
};

absl::Status Unreadable(absl::string_view file, absl::string_view text) {
  return absl::InternalError(absl::StrCat("read ", file, ": unexpected text \"", text, "\""));
}

absl::StatusOr<std::int64_t> ReadInteger(Host& host, const std::string& cgroup, const char* file) {
  absl::StatusOr<std::string> text = host.ReadCgroup(cgroup, "cpu", file);
  if (!text.ok()) return text.status();
  std::int64_t value = 0;
  if (!absl::SimpleAtoi(absl::StripAsciiWhitespace(*text), &value)) return Unreadable(file, *text);
  return value;
}

absl::StatusOr<Bandwidth> ReadV1(Host& host, const std::string& cgroup) {
  absl::StatusOr<std::int64_t> quota = ReadInteger(host, cgroup, "cpu.cfs_quota_us");
  if (!quota.ok()) return quota.status();
  absl::StatusOr<std::int64_t> period = ReadInteger(host, cgroup, "cpu.cfs_period_us");
  if (!period.ok()) return period.status();
  Bandwidth now;
  if (*quota >= 0) now.quota_us = *quota;
  now.period_us = *period;
  return now;
}

absl::StatusOr<Bandwidth> ReadV2(Host& host, const std::string& cgroup) {
  absl::StatusOr<std::string> text = host.ReadCgroup(cgroup, "cpu", "cpu.max");
  if (!text.ok()) return text.status();
  const std::vector<std::string> words =
      absl::StrSplit(*text, absl::ByAnyChar(" \n"), absl::SkipEmpty());
  Bandwidth now;
  std::int64_t quota = 0;
  if (words.size() != 2 || !absl::SimpleAtoi(words[1], &now.period_us)) {
    return Unreadable("cpu.max", *text);
  }
  if (words[0] != "max") {
    if (!absl::SimpleAtoi(words[0], &quota)) return Unreadable("cpu.max", *text);
    now.quota_us = quota;
  }
  return now;
}

// What cpu.stat says so far.
struct Throttling {
  std::int64_t ns = 0;
  std::int64_t periods = 0;
};

absl::StatusOr<Throttling> ReadThrottling(Host& host, const std::string& cgroup) {
  absl::StatusOr<std::string> text = host.ReadCgroup(cgroup, "cpu", "cpu.stat");
  if (!text.ok()) return text.status();
  Throttling result;
  for (absl::string_view line : absl::StrSplit(*text, '\n', absl::SkipEmpty())) {
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
    std::int64_t value = 0;
    if (words.size() != 2 || !absl::SimpleAtoi(words[1], &value)) continue;
    if (words[0] == "nr_throttled") result.periods = value;
    // v1 counts ns, v2 us.
    if (words[0] == "throttled_time") result.ns = value;
    if (words[0] == "throttled_usec") result.ns = value * kNsPerUs;
  }
  return result;
}

std::vector<v1::Dose> DoseOf(const Throttling& throttling) {
  return {MakeDose("throttled_ns", "ns", throttling.ns),
          MakeDose("throttled_periods", "{period}", throttling.periods)};
}

template <typename Doses>
Throttling FromDose(const Doses& doses) {
  Throttling result;
  for (const v1::Dose& dose : doses) {
    if (dose.name() == "throttled_ns") result.ns = dose.value();
    if (dose.name() == "throttled_periods") result.periods = dose.value();
  }
  return result;
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
    absl::StatusOr<Bandwidth> now =
        *version == "v1" ? ReadV1(host, cgroup_) : ReadV2(host, cgroup_);
    if (!now.ok()) return now.status();
    if (absl::Status status = CheckTighter(*now, wanted); !status.ok()) return status;
    absl::StatusOr<Throttling> before = ReadThrottling(host, cgroup_);
    if (!before.ok()) return before.status();
    before_ = *before;
    if (now->quota_us.has_value()) {
      notes->push_back(absl::StrCat(
          "the group is limited to ",
          static_cast<double>(*now->quota_us) / static_cast<double>(now->period_us),
          " CPU already (", absl::FormatDuration(absl::Microseconds(*now->quota_us)), " in ",
          absl::FormatDuration(absl::Microseconds(now->period_us)), "); that limit comes back"));
    }
    if (const int has = host.Cpus(); has > 0 && cpus >= has) {
      notes->push_back(absl::StrCat("the host has ", has, has == 1 ? " CPU" : " CPUs",
                                    ", so the group could not use more than cpus=", cpus,
                                    " anyway: expect no effect; ask for less than ", has));
    }
    return *version == "v1" ? AddV1(host, *now, wanted, levers) : AddV2(host, wanted, levers);
  }

  std::vector<v1::Dose> Baseline() const override { return DoseOf(before_); }

  // cpu.stat outlives us, and so does the quota: what was throttled meanwhile counts as well.
  void Resume(const v1::FaultState& state, const Parameters& parameters) override {
    cgroup_ = state.cgroup();
    period_ns_ = parameters.Integer("period");
    known_before_ = state.baseline_size() == 2;
    before_ = FromDose(state.baseline());
    sum_ = FromDose(state.dose());
    first_touch_ns_ = state.edges().first_touch().boottime_ns();
    last_touch_ns_ = state.edges().last_touch().boottime_ns();
    error_ns_ = state.edges().last_touch().error_ns();
    last_read_ns_ = state.read_boottime_ns() != 0 ? state.read_boottime_ns()
                                                  : state.edges().commanded().boottime_ns();
  }

  // cpu.stat has no times, so the touches are the reads at which a count had moved. The kernel
  // counts a throttled period at its end, one period late at most.
  Evidence Measure(Host& host, absl::Span<const std::unique_ptr<Lever>> /*levers*/,
                   std::int64_t now_ns) override {
    Evidence evidence;
    const absl::StatusOr<Throttling> now = ReadThrottling(host, cgroup_);
    if (!now.ok()) evidence.missing = std::string(now.status().message());
    if (!known_before_) evidence.missing = "what cpu.stat said before the fault was not journaled";
    if (evidence.missing.empty()) {
      const Throttling sum{now->ns - before_.ns, now->periods - before_.periods};
      if (sum.ns < sum_.ns || sum.periods < sum_.periods) {
        evidence.missing = absl::StrCat("cpu.stat of ", cgroup_, " counts anew");
      } else if (sum.ns > sum_.ns || sum.periods > sum_.periods) {
        error_ns_ = (last_read_ns_ == 0 ? 0 : now_ns - last_read_ns_) + period_ns_;
        if (first_touch_ns_ == 0) first_touch_ns_ = now_ns;
        last_touch_ns_ = now_ns;
        sum_ = sum;
      }
      last_read_ns_ = now_ns;
    }
    evidence.dose = DoseOf(sum_);
    evidence.first_touch_ns = first_touch_ns_;
    evidence.last_touch_ns = last_touch_ns_;
    evidence.error_ns = error_ns_;
    return evidence;
  }

 private:
  static absl::Status CheckTighter(const Bandwidth& now, const Bandwidth& wanted) {
    if (!now.quota_us.has_value()) return absl::OkStatus();
    const double has = static_cast<double>(*now.quota_us) / static_cast<double>(now.period_us);
    const double gets =
        static_cast<double>(*wanted.quota_us) / static_cast<double>(wanted.period_us);
    if (gets < has) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat(
        "cpu.limit: the group is limited to ", has,
        " CPU already, so this would give it more or the same; ask for less than ", has));
  }

  // A step between the two writes must never allow more than both ends do: v1 refuses a group that
  // may use more than its parent.
  absl::Status AddV1(Host& host, const Bandwidth& now, const Bandwidth& wanted,
                     std::vector<std::unique_ptr<Lever>>* levers) const {
    LeverOr period =
        host.CgroupValue(cgroup_, "cpu", "cpu.cfs_period_us", absl::StrCat(wanted.period_us));
    if (!period.ok()) return period.status();
    LeverOr quota =
        host.CgroupValue(cgroup_, "cpu", "cpu.cfs_quota_us", absl::StrCat(*wanted.quota_us));
    if (!quota.ok()) return quota.status();
    const bool quota_first = now.quota_us.has_value() && wanted.period_us < now.period_us;
    levers->push_back(std::move(quota_first ? *quota : *period));
    levers->push_back(std::move(quota_first ? *period : *quota));
    return absl::OkStatus();
  }

  absl::Status AddV2(Host& host, const Bandwidth& wanted,
                     std::vector<std::unique_ptr<Lever>>* levers) const {
    LeverOr lever = host.CgroupValue(cgroup_, "cpu", "cpu.max",
                                     absl::StrCat(*wanted.quota_us, " ", wanted.period_us));
    if (!lever.ok()) return lever.status();
    levers->push_back(std::move(*lever));
    return absl::OkStatus();
  }

  std::string cgroup_;
  std::int64_t period_ns_ = 0;
  bool known_before_ = true;
  Throttling before_;
  Throttling sum_;
  std::int64_t first_touch_ns_ = 0;
  std::int64_t last_touch_ns_ = 0;
  std::int64_t last_read_ns_ = 0;
  std::int64_t error_ns_ = 0;
};

}  // namespace

std::unique_ptr<Fault> MakeCpuLimit() { return std::make_unique<CpuLimit>(); }

absl::Status ProbeCpuLimit(Host& host) { return host.ControllerVersion("cpu").status(); }

}  // namespace faultline
