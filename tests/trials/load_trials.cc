// SPDX-License-Identifier: Apache-2.0
//
// cpu.load: the kernel's count of the group's CPU time grows as fast as somebody burns it. Nobody
// else is in the group, and who burns is in sight of the kernel every 20 us.
#include "absl/strings/str_cat.h"
#include "tests/trials/doses.h"
#include "tests/trials/families.h"
#include "tests/trials/spinners.h"
#include "tests/witness/now.h"
#include "tests/witness/readings.h"

namespace faultline {
namespace {

class LoadFamily final : public Family {
 public:
  explicit LoadFamily(TrialSite* site) : site_(site) {}

  absl::StatusOr<Trial> Run() override {
    const TrialSite::CpuCount count = site_->CpuTime();
    witness::Reader cpu(count.file, count.unit_ns);
    witness::SleepForMs(kTrialBesideMs);
    v1::FaultSpec spec = site_->Spec("cpu.load", kTrialSeconds);
    // All the time, so that it burns until its end.
    (*spec.mutable_parameters())["cpus"] = "1";
    absl::StatusOr<v1::FaultState> ended = site_->Run(spec);
    witness::SleepForMs(kTrialBesideMs);
    const witness::Burst burst = witness::BurstOf(cpu.Finish(), kSureNs);
    if (!ended.ok()) return ended.status();
    Trial trial;
    trial.state = *std::move(ended);
    trial.seen = {burst.begin_ns, burst.last_ns, burst.last_ns};
    return trial;
  }

 private:
  // The helper's own start takes less.
  static constexpr std::int64_t kSureNs = 2 * witness::kMs;

  TrialSite* const site_;
};

}  // namespace

FamilyOr MakeLoad(TrialSite* site) {
  if (absl::Status status = site->AddSleeper(); !status.ok()) return status;
  return std::make_unique<LoadFamily>(site);
}

// From its acknowledgement to its end, nothing left out.
absl::StatusOr<GivenDose> MeasureLoad(TrialSite* site, double cpus) {
  {
    Spinners spinners(&site->group());
    if (absl::Status status = spinners.Start(); !status.ok()) return status;
    if (absl::Status can = spinners.CheckCanGet(cpus); !can.ok()) return can;
  }
  if (absl::Status status = site->AddSleeper(); !status.ok()) return status;
  const TrialSite::CpuCount count = site->CpuTime();
  const std::int64_t before = witness::NumberIn(count.file);
  v1::FaultSpec spec = site->Spec("cpu.load", 3);
  (*spec.mutable_parameters())["cpus"] = absl::StrCat(cpus);
  const absl::StatusOr<v1::FaultState> ended = site->Run(spec);
  const std::int64_t used_ns = (witness::NumberIn(count.file) - before) * count.unit_ns;
  site->group().Empty();
  if (!ended.ok()) return ended.status();
  const auto active_ns =
      static_cast<double>(ended->deadline_boottime_ns() - ended->edges().acked().boottime_ns());
  return GivenDose{static_cast<double>(used_ns) / active_ns,
                   static_cast<double>(DoseOf(*ended, "burnt_ns")) / active_ns};
}

}  // namespace faultline
