// SPDX-License-Identifier: Apache-2.0
//
// mem.limit on a group whose cache the kernel takes long to free: nobody else waits for that, and
// its own end neither.
#include <fcntl.h>

#include <fstream>
#include <future>

#include "tests/kernel/fault_fixture.h"
#include "tests/kernel/test_disk.h"

namespace faultline {
namespace {

constexpr std::int64_t kCacheMebi = 1 << 20;
constexpr std::int64_t kBytes = 400 * kCacheMebi;
// How late a deadline may ever be.
constexpr std::int64_t kLatestNs = 250 * kNsPerMs;

std::int64_t AvailableBytes() {
  std::ifstream meminfo("/proc/meminfo");
  for (std::string word; meminfo >> word;) {
    std::int64_t kib = 0;
    if (word == "MemAvailable:" && meminfo >> kib) return kib * 1024;
  }
  return 0;
}

// A file that is written, and is not on its disk yet: the kernel cannot free its pages before it
// is.
class Unwritten {
 public:
  // Without a name, so that it goes with the last process that has it.
  Unwritten() : fd_(open("/var/tmp", O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600)) {}
  ~Unwritten() { close(fd_); }
  Unwritten(const Unwritten&) = delete;
  Unwritten& operator=(const Unwritten&) = delete;

  // By a process of `group`, which is charged for it.
  bool Write(TestCgroup* group, std::int64_t bytes) const {
    return group->Run([this, bytes] {
      if (ftruncate(fd_, 0) != 0 || lseek(fd_, 0, SEEK_SET) != 0) return 1;
      static char block[kCacheMebi];
      for (std::int64_t left = bytes; left > 0; left -= kCacheMebi) {
        if (write(fd_, block, sizeof(block)) != kCacheMebi) return 1;
      }
      return 0;
    }) == 0;
  }

 private:
  const int fd_;
};

class SlowLimit : public FaultTest {
 protected:
  void SetUp() override {
    FaultTest::SetUp();
    if (AvailableBytes() < 4 * kBytes) GTEST_SKIP() << "too little memory for 400 MiB of cache";
    if (TestFile::DiskOf("/var/tmp").empty()) GTEST_SKIP() << "/var/tmp is on no block device";
  }
  void Fill() {
    ASSERT_TRUE(file_.Write(group_.get(), kBytes));
    ASSERT_GT(MemoryUsage(), kBytes / 2);
  }
  v1::FaultSpec Limit(const std::string& name, double seconds) const {
    v1::FaultSpec spec = Spec("mem.limit", name, seconds);
    (*spec.mutable_parameters())["bytes"] = "4MiB";
    return spec;
  }
  static std::int64_t OvershootNs(const v1::FaultState& state) {
    return state.edges().undone().boottime_ns() - state.deadline_boottime_ns();
  }

  Unwritten file_;
};

TEST_F(SlowLimit, KeepsTheDeadlineOfAnother) {
  bool met = false;
  bool fast = true;
  // When the kernel is at it is not for the test to say.
  for (int i = 0; i < 5 && !met; ++i) {
    Fill();
    const std::string other = absl::StrCat("other", i);
    const std::string limit = absl::StrCat("limit", i);
    v1::FaultSpec spec = Spec("cpu.limit", other, 0.4);
    (*spec.mutable_parameters())["cpus"] = "0.5";
    const auto started = injector_.Inject(spec);
    ASSERT_TRUE(started.ok()) << started.status();
    const std::int64_t deadline_ns = started->deadline_boottime_ns();
    while (Clock::System().Now().boottime_ns < deadline_ns - 20 * kNsPerMs) SleepMs(1);
    const auto limited = injector_.Inject(Limit(limit, 20));
    ASSERT_TRUE(limited.ok()) << limited.status();
    const v1::Edges& edges = limited->edges();
    met = edges.commanded().boottime_ns() < deadline_ns - 5 * kNsPerMs &&
          edges.acked().boottime_ns() > deadline_ns + 20 * kNsPerMs;
    fast = fast && edges.acked().error_ns() < 40 * kNsPerMs;
    const v1::FaultState ended = injector_.WaitForEnd(Id(other), 5);
    EXPECT_EQ(ended.phase(), v1::PHASE_UNDONE) << ended.reason();
    EXPECT_LE(OvershootNs(ended), kLatestNs);
    RecordProperty(absl::StrCat("overshoot_us_", i), absl::StrCat(OvershootNs(ended) / 1000));
    RecordProperty(absl::StrCat("lowered_ms_", i),
                   absl::StrCat(edges.acked().error_ns() / kNsPerMs));
    EXPECT_LE(MemoryUsage(), 4 * kCacheMebi);
    EXPECT_EQ(injector_.Stop(Id(limit))->phase(), v1::PHASE_UNDONE);
  }
  if (!met && fast) GTEST_SKIP() << "the disk takes 400 MiB in less than 40 ms";
  EXPECT_TRUE(met) << "no deadline passed while memory was freed";
}

TEST_F(SlowLimit, IsLeft_WhenItsOwnDeadlinePasses) {
  Fill();
  const auto limited = injector_.Inject(Limit("limit", 0.1));
  const v1::FaultState ended = injector_.WaitForEnd(Id("limit"), 5);
  EXPECT_LE(OvershootNs(ended), kLatestNs);
  RecordProperty("overshoot_us", absl::StrCat(OvershootNs(ended) / 1000));
  EXPECT_EQ(Digest(), before_);
  if (limited.ok()) {
    EXPECT_LT(limited->edges().acked().boottime_ns(), limited->deadline_boottime_ns());
    GTEST_SKIP() << "the disk takes 400 MiB in less than 100 ms";
  }
  EXPECT_EQ(ended.phase(), v1::PHASE_FAILED);
  EXPECT_EQ(ended.reason(), "its deadline was over before it was in force");
  // Nothing comes after the end.
  SleepMs(300);
  EXPECT_EQ(Digest(), before_);
}

TEST_F(SlowLimit, OfAnInjectorThatIsKilled_IsUndoneByTheNext) {
  Fill();
  std::future<absl::StatusOr<v1::FaultState>> start =
      std::async(std::launch::async, [this] { return injector_.Inject(Limit("limit", 20)); });
  while (injector_.Find(Id("limit")).phase() != v1::PHASE_JOURNALED &&
         start.wait_for(std::chrono::milliseconds(1)) == std::future_status::timeout) {
  }
  EXPECT_EQ(injector_.End(SIGKILL), 128 + SIGKILL);
  (void)start.get();
  ASSERT_TRUE(injector_.Start().ok());
  EXPECT_TRUE(injector_.Find(Id("limit")).phase() >= v1::PHASE_UNDONE);
  EXPECT_EQ(Digest(), before_);
  SleepMs(300);
  EXPECT_EQ(Digest(), before_);
}

}  // namespace
}  // namespace faultline
