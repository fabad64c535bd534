// SPDX-License-Identifier: Apache-2.0
//
// mem.limit and io.limit, as a reader of a file feels them.
#include "tests/kernel/fault_fixture.h"
#include "tests/kernel/test_disk.h"

namespace faultline {
namespace {

constexpr std::int64_t kMebi = 1 << 20;
constexpr int kBlocksOfMebi = kMebi / TestFile::kBlock;

using MemLimit = FaultTest;
using IoLimit = FaultTest;

TEST_F(MemLimit, MakesAReaderReadFromTheDiskAgain_UntilTheDeadline) {
  const TestFile file(16 * kBlocksOfMebi);
  if (file.Disk().empty()) GTEST_SKIP() << "/var/tmp is on no block device";
  const FileReader reader(group_.get(), file, false);
  ASSERT_TRUE(reader.started());
  // All of it is in the page cache, which the group is charged for.
  for (int i = 0; i < 100 && reader.bytes() < 20 * kMebi; ++i) SleepMs(100);
  ASSERT_GT(MemoryUsage(), 15 * kMebi);
  const std::int64_t cached = reader.disk_bytes();
  SleepMs(500);
  EXPECT_EQ(reader.disk_bytes(), cached);

  v1::FaultSpec spec = Spec("mem.limit", "mem", 3);
  (*spec.mutable_parameters())["bytes"] = "8MiB";
  const auto started = injector_.Inject(spec);
  ASSERT_TRUE(started.ok()) << started.status();
  SleepMs(2000);
  EXPECT_LE(MemoryUsage(), 8 * kMebi);
  EXPECT_GT(reader.disk_bytes(), cached + 8 * kMebi);
  const v1::FaultState ended = injector_.WaitForEnd(Id("mem"), 10);
  EXPECT_EQ(ended.phase(), v1::PHASE_UNDONE) << ended.reason();
  ExpectEdgesInOrder(ended);
  ASSERT_EQ(ended.dose_size(), 2);
  EXPECT_EQ(ended.dose(0).name(), "limit_hits");
  EXPECT_GT(ended.dose(0).value(), 0);
  EXPECT_EQ(ended.dose(1).value(), 0) << "nobody was killed";
  EXPECT_NE(ended.edges().first_touch().boottime_ns(), 0);

  // A page that was on its way out when the limit went may have to come once more, so it is waited
  // for half a second in which nothing is read from the disk.
  std::int64_t last = -1;
  for (int i = 0; i < 20 && reader.disk_bytes() != last; ++i) {
    last = reader.disk_bytes();
    SleepMs(500);
  }
  EXPECT_EQ(reader.disk_bytes(), last);
  EXPECT_GT(MemoryUsage(), 15 * kMebi);
}

TEST_F(MemLimit, BelowWhatAProcessHolds_IsRefused) {
  std::atomic<bool>* const held = static_cast<std::atomic<bool>*>(
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  ASSERT_TRUE(group_
                  ->Spawn([held] {
                    void* const memory = mmap(nullptr, 16 * kMebi, PROT_READ | PROT_WRITE,
                                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
                    *held = memory != MAP_FAILED;
                    pause();
                    return 0;
                  })
                  .ok());
  for (int i = 0; i < 300 && !*held; ++i) SleepMs(10);
  ASSERT_TRUE(*held);
  munmap(held, 4096);
  // The kernel adds up what is in memory.stat every two seconds.
  SleepMs(2500);
  v1::FaultSpec spec = Spec("mem.limit", "mem", 3);
  (*spec.mutable_parameters())["bytes"] = "8MiB";
  const auto refused = injector_.Inject(spec);
  EXPECT_TRUE(absl::IsFailedPrecondition(refused.status())) << refused.status();
  EXPECT_NE(std::string(refused.status().message()).find("that the kernel cannot reclaim"),
            std::string::npos)
      << refused.status();
}

TEST_F(IoLimit, HoldsAReaderAtItsRate_UntilTheDeadline) {
  const TestFile file(4 * kBlocksOfMebi);
  if (file.Disk().empty()) GTEST_SKIP() << "/var/tmp is on no block device";
  const FileReader reader(group_.get(), file, true);
  ASSERT_TRUE(reader.started());
  const double free = reader.Rate(500);
  v1::FaultSpec spec = Spec("io.limit", "io", 4);
  (*spec.mutable_parameters())["device"] = file.Disk();
  (*spec.mutable_parameters())["read"] = "1MiB/s";
  const auto started = injector_.Inject(spec);
  ASSERT_TRUE(started.ok()) << started.status();
  SleepMs(500);
  const double limited = reader.Rate(2500);
  const v1::FaultState ended = injector_.WaitForEnd(Id("io"), 10);
  SleepMs(500);
  const double after = reader.Rate(500);
  RecordProperty("free", absl::StrCat(free));
  RecordProperty("limited", absl::StrCat(limited));
  EXPECT_GT(free, 4 * kMebi) << "the machine is too busy to tell";
  EXPECT_NEAR(limited, kMebi, 0.3 * kMebi);
  EXPECT_GT(after, 4 * kMebi);

  EXPECT_EQ(ended.phase(), v1::PHASE_UNDONE) << ended.reason();
  ExpectEdgesInOrder(ended);
  ASSERT_EQ(ended.dose_size(), 2);
  EXPECT_EQ(ended.dose(0).name(), "bytes_done");
  EXPECT_NEAR(static_cast<double>(ended.dose(0).value()), 4 * kMebi, 1.5 * kMebi);
  EXPECT_EQ(ended.dose(1).value() * TestFile::kBlock, ended.dose(0).value());
  const v1::Edges& edges = ended.edges();
  EXPECT_NE(edges.first_touch().boottime_ns(), 0);
  EXPECT_LT(edges.first_touch().boottime_ns() - edges.acked().boottime_ns(), 1500 * kNsPerMs);
}

// What the reader does between the pulses is far more, and no dose.
TEST_F(IoLimit, InPulses_HoldsAReaderOnlyInThem) {
  const TestFile file(4 * kBlocksOfMebi);
  if (file.Disk().empty()) GTEST_SKIP() << "/var/tmp is on no block device";
  const FileReader reader(group_.get(), file, true);
  ASSERT_TRUE(reader.started());
  v1::FaultSpec spec = Spec("io.limit", "pulse", 6);
  (*spec.mutable_parameters())["device"] = file.Disk();
  (*spec.mutable_parameters())["read"] = "1MiB/s";
  spec.mutable_shape()->set_kind(v1::SHAPE_KIND_PULSE);
  spec.mutable_shape()->set_on_ns(kNsPerSecond);
  spec.mutable_shape()->set_off_ns(kNsPerSecond);
  const auto started = injector_.Inject(spec);
  ASSERT_TRUE(started.ok()) << started.status();
  for (int phase = 0; phase < 6; ++phase) {
    const std::int64_t at_ns = started->start_boottime_ns() + phase * kNsPerSecond + 200 * kNsPerMs;
    SleepMs(static_cast<int>((at_ns - Clock::System().Now().boottime_ns) / kNsPerMs));
    const double rate = reader.Rate(700);
    if (phase % 2 == 0) {
      EXPECT_NEAR(rate, kMebi, 0.4 * kMebi) << phase;
    } else {
      EXPECT_GT(rate, 3 * kMebi) << phase;
    }
  }
  const v1::FaultState ended = injector_.WaitForEnd(Id("pulse"), 10);
  EXPECT_EQ(ended.phase(), v1::PHASE_UNDONE) << ended.reason();
  EXPECT_TRUE(ended.dose_complete()) << ended.reason();
  EXPECT_NEAR(static_cast<double>(ended.dose(0).value()), 3 * kMebi, 1.5 * kMebi);
  EXPECT_NE(ended.edges().first_touch().boottime_ns(), 0);
}

TEST_F(IoLimit, SaysInterfered_WhenSomebodyTakesTheLineAway_AndLeavesOtherDevicesAlone) {
  const std::string disk = TestFile::DiskOf("/var/tmp");
  if (disk.empty()) GTEST_SKIP() << "/var/tmp is on no block device";
  v1::FaultSpec spec = Spec("io.limit", "io", 30);
  (*spec.mutable_parameters())["device"] = disk;
  (*spec.mutable_parameters())["write_ops"] = "100";
  ASSERT_TRUE(injector_.Inject(spec).ok());
  EXPECT_NE(Digest(), before_);
  const bool v1 = group_->Write("blkio", "blkio.throttle.write_iops_device", disk + " 0").ok();
  if (!v1) {
    ASSERT_TRUE(group_->Write("io", "io.max", disk + " wiops=max").ok());
  }
  const v1::FaultState ended = injector_.WaitForEnd(Id("io"), 5);
  EXPECT_EQ(ended.phase(), v1::PHASE_INTERFERED) << ended.reason();
  EXPECT_EQ(ended.residue_size(), 0);
}

}  // namespace
}  // namespace faultline
