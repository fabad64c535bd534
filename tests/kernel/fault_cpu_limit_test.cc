// SPDX-License-Identifier: Apache-2.0
#include "tests/kernel/fault_fixture.h"

namespace faultline {
namespace {

using CpuLimit = FaultTest;

TEST_F(CpuLimit, HoldsASpinnerAtItsQuota_UntilTheDeadline) {
  const Spinner spinner(group_.get());
  ASSERT_TRUE(spinner.started());
  const double free = spinner.Cpus(1000);
  v1::FaultSpec spec = Spec("cpu.limit", "cpu", 3);
  (*spec.mutable_parameters())["cpus"] = "0.1";
  (*spec.mutable_parameters())["period"] = "50ms";
  const auto started = injector_.Inject(spec);
  ASSERT_TRUE(started.ok()) << started.status();
  SleepMs(200);
  const double limited = spinner.Cpus(2000);
  const v1::FaultState ended = injector_.WaitForEnd(Id("cpu"), 10);
  const double after = spinner.Cpus(1000);
  RecordProperty("free", absl::StrCat(free));
  RecordProperty("limited", absl::StrCat(limited));
  EXPECT_NEAR(limited, 0.1, 0.03);
  EXPECT_GT(free, 0.2) << "the machine is too busy to tell";
  EXPECT_GT(after, 0.2);

  EXPECT_EQ(ended.phase(), v1::PHASE_UNDONE);
  EXPECT_EQ(ended.residue_size(), 0);
  const v1::Edges& edges = ended.edges();
  EXPECT_LE(edges.commanded().boottime_ns(), edges.acked().boottime_ns());
  EXPECT_LE(edges.acked().boottime_ns(), edges.first_touch().boottime_ns());
  EXPECT_LE(edges.first_touch().boottime_ns(), edges.last_touch().boottime_ns());
  EXPECT_LT(edges.first_touch().boottime_ns() - edges.acked().boottime_ns(), 200 * kNsPerMs);
  EXPECT_EQ(edges.first_touch().error_ns(), 0) << "it was not seen by the kernel programs";
  EXPECT_EQ(edges.last_touch().error_ns(), 0);
  EXPECT_GE(edges.undone().boottime_ns(), ended.deadline_boottime_ns());
  EXPECT_LT(edges.undone().boottime_ns() - ended.deadline_boottime_ns(), 250 * kNsPerMs);
  // What the kernel's own file counts.
  ASSERT_EQ(ended.dose_size(), 2);
  EXPECT_EQ(ended.dose(0).name(), "throttled_ns");
  EXPECT_GT(ended.dose(0).value(), kNsPerSecond);
  EXPECT_NE(group_->Read("cpu", "cpu.stat").find("nr_throttled"), std::string::npos);
}

TEST_F(CpuLimit, GivesALimitOfBeforeBack) {
  if (!group_->Write("cpu", "cpu.cfs_quota_us", "90000").ok()) {
    ASSERT_TRUE(group_->Write("cpu", "cpu.max", "90000 100000").ok());
  }
  before_ = Digest();
  v1::FaultSpec spec = Spec("cpu.limit", "cpu", 30);
  (*spec.mutable_parameters())["cpus"] = "0.3";
  (*spec.mutable_parameters())["period"] = "20ms";
  ASSERT_TRUE(injector_.Inject(spec).ok());
  EXPECT_NE(Digest(), before_);
  const auto stopped = injector_.Stop(Id("cpu"));
  ASSERT_TRUE(stopped.ok());
  EXPECT_EQ(stopped->phase(), v1::PHASE_UNDONE);
  EXPECT_EQ(Digest(), before_);
}

TEST_F(CpuLimit, SaysInterfered_WhenSomebodyElseSetsTheQuota) {
  v1::FaultSpec spec = Spec("cpu.limit", "cpu", 30);
  (*spec.mutable_parameters())["cpus"] = "0.5";
  ASSERT_TRUE(injector_.Inject(spec).ok());
  if (!group_->Write("cpu", "cpu.cfs_quota_us", "77000").ok()) {
    ASSERT_TRUE(group_->Write("cpu", "cpu.max", "77000 100000").ok());
  }
  const v1::FaultState ended = injector_.WaitForEnd(Id("cpu"), 5);
  EXPECT_EQ(ended.phase(), v1::PHASE_INTERFERED);
  EXPECT_EQ(ended.residue_size(), 1);
  // Theirs stays.
  before_ = Digest();
  EXPECT_NE(before_.find("77000"), std::string::npos);
}

}  // namespace
}  // namespace faultline
