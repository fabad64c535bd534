// SPDX-License-Identifier: Apache-2.0
//
// Faults that follow a shape or begin later, on this kernel: what the target shows of each phase.
#include <algorithm>
#include <filesystem>
#include <vector>

#include "base/open_mark.h"
#include "tests/kernel/fault_fixture.h"

namespace faultline {
namespace {

constexpr std::int64_t kOneMiB = 1 << 20;

std::int64_t BootNs() { return Clock::System().Now().boottime_ns; }

class FaultShape : public FaultTest {
 protected:
  static v1::FaultSpec Pulse(v1::FaultSpec spec, int on_ms, int off_ms) {
    spec.mutable_shape()->set_kind(v1::SHAPE_KIND_PULSE);
    spec.mutable_shape()->set_on_ns(on_ms * kNsPerMs);
    spec.mutable_shape()->set_off_ns(off_ms * kNsPerMs);
    return spec;
  }
  static v1::FaultSpec Ramp(v1::FaultSpec spec, int ramp_ms) {
    spec.mutable_shape()->set_kind(v1::SHAPE_KIND_RAMP);
    spec.mutable_shape()->set_ramp_ns(ramp_ms * kNsPerMs);
    return spec;
  }
  v1::FaultSpec Limit(double seconds) const {
    v1::FaultSpec spec = Spec("cpu.limit", "shape", seconds);
    (*spec.mutable_parameters())["cpus"] = "0.1";
    (*spec.mutable_parameters())["period"] = "20ms";
    return spec;
  }
  v1::FaultSpec Leak(double seconds, const char* bytes) const {
    v1::FaultSpec spec = Spec("mem.leak", "shape", seconds);
    (*spec.mutable_parameters())["bytes"] = bytes;
    return spec;
  }
  static void SleepUntil(std::int64_t ns) {
    SleepMs(static_cast<int>(std::max<std::int64_t>(0, ns - BootNs()) / kNsPerMs) + 1);
  }
  // Quota as the kernel shows it, in us; -1: none.
  std::int64_t Quota() const {
    const std::string v1 = group_->Read("cpu", "cpu.cfs_quota_us");
    const std::string text = v1.empty() ? group_->Read("cpu", "cpu.max") : v1;
    std::int64_t quota = -1;
    return absl::SimpleAtoi(text.substr(0, text.find(' ')), &quota) ? quota : -1;
  }
  std::int64_t HeldNow() {
    const v1::FaultState state = injector_.Find(Id("shape"));
    return state.dose_size() == 0 ? -1 : state.dose(0).value();
  }
};

TEST_F(FaultShape, ACpuLimitInPulses_HoldsASpinnerOnlyInThem) {
  const Spinner spinner(group_.get());
  ASSERT_TRUE(spinner.started());
  const auto started = injector_.Inject(Pulse(Limit(6), 1000, 1000));
  ASSERT_TRUE(started.ok()) << started.status();
  const std::int64_t start_ns = started->start_boottime_ns();
  for (int phase = 0; phase < 6; ++phase) {
    SleepUntil(start_ns + phase * kNsPerSecond + 100 * kNsPerMs);
    const double cpus = spinner.Cpus(800);
    if (phase % 2 == 0) {
      EXPECT_NEAR(cpus, 0.1, 0.04) << phase;
    } else {
      EXPECT_GT(cpus, 0.2) << phase;
    }
  }
  const v1::FaultState ended = injector_.WaitForEnd(Id("shape"), 10);
  EXPECT_EQ(ended.phase(), v1::PHASE_UNDONE) << ended.reason();
  EXPECT_EQ(ended.reason(), "");
  EXPECT_GT(ended.dose(0).value(), kNsPerSecond);
}

TEST_F(FaultShape, ACpuLimitAsARamp_TightensOnlyAndIsGivenBack) {
  const auto started = injector_.Inject(Ramp(Limit(4), 2000));
  ASSERT_TRUE(started.ok()) << started.status();
  const auto quota = std::find_if(started->changes().begin(), started->changes().end(),
                                  [](const v1::Change& change) { return change.steps_size() > 0; });
  ASSERT_NE(quota, started->changes().end());
  EXPECT_EQ(quota->steps_size(), 20);
  std::vector<std::int64_t> seen{Quota()};
  while (BootNs() < started->start_boottime_ns() + 2'200 * kNsPerMs) {
    const std::int64_t now = Quota();
    if (now != seen.back()) seen.push_back(now);
    SleepMs(2);
  }
  EXPECT_TRUE(std::is_sorted(seen.rbegin(), seen.rend()));
  EXPECT_GE(seen.size(), 18U);
  EXPECT_EQ(seen.back(), 2000);
  const v1::FaultState ended = injector_.WaitForEnd(Id("shape"), 10);
  EXPECT_EQ(ended.phase(), v1::PHASE_UNDONE) << ended.reason();
  EXPECT_EQ(Quota(), -1);
}

TEST_F(FaultShape, APauseInPulses_LetsTheTargetGoOnBetweenThem) {
  const Spinner spinner(group_.get());
  ASSERT_TRUE(spinner.started());
  while (spinner.rounds() == 0) SleepMs(1);
  const auto started = injector_.Inject(Pulse(Spec("process.pause", "shape", 2.9), 300, 700));
  ASSERT_TRUE(started.ok()) << started.status();
  const std::int64_t start_ns = started->start_boottime_ns();
  int seen = 0;
  for (int round = 0; round < 3; ++round) {
    const std::int64_t on_ns = start_ns + round * kNsPerSecond;
    SleepUntil(on_ns + 100 * kNsPerMs);
    const std::int64_t frozen_at = spinner.rounds();
    SleepUntil(on_ns + 250 * kNsPerMs);
    const std::int64_t later = spinner.rounds();
    // On a machine that let this thread wait until the pulse was over, there is nothing to see.
    if (BootNs() < on_ns + 300 * kNsPerMs) {
      ++seen;
      EXPECT_EQ(later, frozen_at) << round;
    }
    SleepUntil(on_ns + 500 * kNsPerMs);
    EXPECT_GT(spinner.rounds(), frozen_at) << round;
  }
  EXPECT_GT(seen, 0) << "this machine was too busy in each of three pulses";
  const v1::FaultState ended = injector_.WaitForEnd(Id("shape"), 10);
  EXPECT_EQ(ended.phase(), v1::PHASE_UNDONE) << ended.reason();
  EXPECT_TRUE(ended.dose_complete());
  EXPECT_NEAR(static_cast<double>(ended.dose(0).value()), 0.9e9, 0.1e9);
  EXPECT_LT(ended.edges().last_touch().boottime_ns(), start_ns + 2'400 * kNsPerMs);
  EXPECT_TRUE(spinner.GetsOn());
}

TEST_F(FaultShape, ALeakAsARamp_IsFullAtItsEnd) {
  const std::int64_t before = MemoryUsage();
  ASSERT_GE(before, 0) << "no memory controller";
  const auto started = injector_.Inject(Ramp(Leak(4, "32MiB"), 2000));
  ASSERT_TRUE(started.ok()) << started.status();
  SleepUntil(started->start_boottime_ns() + kNsPerSecond);
  EXPECT_NEAR(static_cast<double>(MemoryUsage() - before), 16.0 * kOneMiB, 4.0 * kOneMiB);
  SleepUntil(started->start_boottime_ns() + 2'400 * kNsPerMs);
  EXPECT_EQ(HeldNow(), 32 * kOneMiB);
  EXPECT_NEAR(static_cast<double>(MemoryUsage() - before), 32.0 * kOneMiB, 2.0 * kOneMiB);
  EXPECT_EQ(injector_.WaitForEnd(Id("shape"), 10).phase(), v1::PHASE_UNDONE);
  EXPECT_LT(MemoryUsage() - before, kOneMiB);
}

TEST_F(FaultShape, ALeakInPulses_IsGivenBackBetweenThem) {
  const std::int64_t before = MemoryUsage();
  ASSERT_GE(before, 0) << "no memory controller";
  v1::FaultSpec spec = Pulse(Leak(4, "16MiB"), 1000, 1000);
  (*spec.mutable_parameters())["rate"] = "64MiB/s";
  const auto started = injector_.Inject(spec);
  ASSERT_TRUE(started.ok()) << started.status();
  for (int phase = 0; phase < 4; ++phase) {
    SleepUntil(started->start_boottime_ns() + phase * kNsPerSecond + 700 * kNsPerMs);
    const bool on = phase % 2 == 0;
    const auto used = static_cast<double>(MemoryUsage() - before);
    EXPECT_NEAR(used, on ? 16.0 * kOneMiB : 0, 1.5 * kOneMiB) << phase;
    EXPECT_EQ(HeldNow(), on ? 16 * kOneMiB : 0) << phase;
  }
  EXPECT_EQ(injector_.WaitForEnd(Id("shape"), 10).phase(), v1::PHASE_UNDONE);
  EXPECT_EQ(CountHelpers(Id("")), 0);
}

// Whatever a killed injector was at, the next one brings back what was before.
TEST_F(FaultShape, AKillOnTheWay_IsUndoneByTheNext) {
  const Spinner spinner(group_.get());
  ASSERT_TRUE(spinner.started());
  ASSERT_TRUE(injector_.Inject(Ramp(Limit(30), 4000)).ok());
  v1::FaultSpec pause = Pulse(Spec("process.pause", "pause", 30), 300, 300);
  ASSERT_TRUE(injector_.Inject(pause).ok());
  SleepMs(1'300);
  EXPECT_GT(Quota(), 2000);
  Kill();
  EXPECT_NE(Quota(), -1);
  ASSERT_TRUE(injector_.Start().ok());
  EXPECT_EQ(Digest(), before_);
  EXPECT_EQ(injector_.Find(Id("shape")).phase(), v1::PHASE_UNDONE);
  EXPECT_EQ(injector_.Find(Id("pause")).phase(), v1::PHASE_UNDONE);
  EXPECT_TRUE(spinner.GetsOn());
}

TEST_F(FaultShape, AFaultThatBeginsLater_ChangesNothingUntilThen) {
  v1::FaultSpec spec = Limit(1);
  spec.set_start_realtime_ns(Clock::System().Now().realtime_ns + 1'500 * kNsPerMs);
  const auto accepted = injector_.Inject(spec);
  ASSERT_TRUE(accepted.ok()) << accepted.status();
  EXPECT_EQ(accepted->phase(), v1::PHASE_ACCEPTED);
  // Of what may have to be undone.
  const std::string mark = OpenMark((injector_.folder() / "run").string());
  EXPECT_FALSE(std::filesystem::exists(mark));
  while (BootNs() < accepted->start_boottime_ns() - 20 * kNsPerMs) {
    ASSERT_EQ(Digest(), before_);
    SleepMs(20);
  }
  EXPECT_TRUE(std::filesystem::exists(mark));
  const v1::FaultState ended = injector_.WaitForEnd(Id("shape"), 10);
  EXPECT_EQ(ended.phase(), v1::PHASE_UNDONE) << ended.reason();
  const v1::Edge& acked = ended.edges().acked();
  EXPECT_GE(acked.boottime_ns(), accepted->start_boottime_ns());
  EXPECT_LT(acked.boottime_ns() - accepted->start_boottime_ns(), 50 * kNsPerMs);
  EXPECT_EQ(ended.deadline_boottime_ns(), accepted->start_boottime_ns() + kNsPerSecond);
}

TEST_F(FaultShape, AKillBeforeTheStart_IsToldByTheNext) {
  v1::FaultSpec spec = Limit(10);
  spec.set_start_delay_ns(60 * kNsPerSecond);
  ASSERT_TRUE(injector_.Inject(spec).ok());
  Kill();
  ASSERT_TRUE(injector_.Start().ok());
  const v1::FaultState state = injector_.Find(Id("shape"));
  EXPECT_EQ(state.phase(), v1::PHASE_REFUSED);
  EXPECT_EQ(state.reason(), "the injector ended before its start");
}

}  // namespace
}  // namespace faultline
