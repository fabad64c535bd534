// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/kernel/bpf_meter.h"
#include "tests/kernel/test_cgroup.h"

namespace faultline {
namespace {

constexpr std::int64_t kMiB = 1 << 20;

// Limits `group` to `bytes` of memory; false where no controller is there.
bool Limit(TestCgroup* group, std::int64_t bytes) {
  if (group->Write("memory", "memory.limit_in_bytes", absl::StrCat(bytes)).ok()) return true;
  return group->Write("memory", "memory.max", absl::StrCat(bytes)).ok();
}

// Number after `key` in a file of "key value" lines; 0 if it is not there.
std::int64_t KeyValue(const std::string& text, const std::string& key) {
  const size_t at = ("\n" + text).find("\n" + key + " ");
  return at == std::string::npos ? 0 : std::stoll(text.substr(at + key.size() + 1));
}

// How often the kernel says that tasks went to look for memory themselves.
std::int64_t AllocStalls() {
  std::ifstream in("/proc/vmstat");
  std::int64_t sum = 0;
  std::string key;
  std::int64_t value = 0;
  while (in >> key >> value) {
    if (key.rfind("allocstall_", 0) == 0) sum += value;
  }
  return sum;
}

class MemoryMetric : public ::testing::Test {
 protected:
  void SetUp() override {
    tight_ = *TestCgroup::Create("mem-tight");
    idle_ = *TestCgroup::Create("mem-idle");
    absl::StatusOr<std::unique_ptr<BpfMeter>> meter = BpfMeter::Create("memory");
    ASSERT_TRUE(meter.ok()) << meter.status();
    meter_ = *std::move(meter);
    for (const char* column :
         {"memory_reclaim_direct_ns", "memory_reclaim_memcg_ns", "memory_oom_kills_count"}) {
      NEED_METRIC(*meter_, column);
    }
    if (tight_->tree().For("memory") == nullptr) {
      GTEST_SKIP() << "no hierarchy has a memory controller";
    }
    ASSERT_TRUE(Limit(tight_.get(), 32 * kMiB));
  }

  std::unique_ptr<TestCgroup> tight_;
  std::unique_ptr<TestCgroup> idle_;
  std::unique_ptr<BpfMeter> meter_;
};

// Clean page cache beyond the limit has to be given back by the task that reads the file.
TEST_F(MemoryMetric, MemcgReclaimIsTimedForTheTaskThatIsHeldUp) {
  char path[] = "/var/tmp/faultline-test-XXXXXX";
  const int fd = mkstemp(path);
  ASSERT_GE(fd, 0);
  unlink(path);
  struct statfs info {};
  fstatfs(fd, &info);
  if (info.f_type == TMPFS_MAGIC) GTEST_SKIP() << "/var/tmp keeps its files in memory";
  const std::string block(kMiB, 'x');
  for (int i = 0; i < 128; ++i) {
    ASSERT_EQ(write(fd, block.data(), block.size()), static_cast<ssize_t>(block.size()));
  }
  ASSERT_EQ(fsync(fd), 0);
  ASSERT_EQ(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
  meter_->Read();
  const auto begin = std::chrono::steady_clock::now();
  const int result = tight_->Run([fd] {
    std::string piece(kMiB, 'x');
    for (int i = 0; i < 128; ++i) {
      if (pread(fd, piece.data(), piece.size(), i * kMiB) < 0) return 1;
    }
    return 0;
  });
  const std::chrono::nanoseconds wall = std::chrono::steady_clock::now() - begin;
  meter_->Read();
  close(fd);
  ASSERT_EQ(result, 0);
  const std::optional<histogram> reclaim =
      meter_->Observed("memory_reclaim_memcg_ns", tight_->path());
  ASSERT_TRUE(reclaim.has_value());
  EXPECT_GT(reclaim->count, 10U);
  EXPECT_GT(reclaim->sum, reclaim->count * 100);
  EXPECT_LT(reclaim->sum, static_cast<std::uint64_t>(wall.count()));
  EXPECT_EQ(meter_->Observed("memory_reclaim_memcg_ns", idle_->path())->count, 0U);
}

TEST_F(MemoryMetric, OomKillIsCountedInTheVictimsGroup) {
  const std::string before = tight_->Read("memory", "memory.oom_control");
  meter_->Read();
  const int result = tight_->Run([] {
    // Be the first choice of the killer, here and anywhere.
    std::ofstream("/proc/self/oom_score_adj") << 1000;
    constexpr size_t kSize = 128 * kMiB;
    auto* memory = static_cast<char*>(
        mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (memory == MAP_FAILED) return 1;
    for (size_t i = 0; i < kSize; i += 4096) memory[i] = 1;
    return 0;
  });
  meter_->Read();
  ASSERT_EQ(result, 128 + SIGKILL);
  EXPECT_EQ(meter_->Count("memory_oom_kills_count", tight_->path()), 1);
  EXPECT_EQ(meter_->Count("memory_oom_kills_count", idle_->path()), 0);
  if (!before.empty()) {
    EXPECT_EQ(KeyValue(tight_->Read("memory", "memory.oom_control"), "oom_kill") -
                  KeyValue(before, "oom_kill"),
              1);
  }
}

// Needs a machine that may run out of memory: a guest that a test of whole machines made.
TEST_F(MemoryMetric, DirectReclaimIsTimedForTheTaskThatIsHeldUp) {
  meter_->Read();
  meter_->Read();
  EXPECT_EQ(meter_->Observed("memory_reclaim_direct_ns", idle_->path())->count, 0U);
  if (getenv("FAULTLINE_WHOLE_MACHINE") == nullptr) {
    GTEST_SKIP() << "would drive this machine out of memory (set FAULTLINE_WHOLE_MACHINE); "
                    "tests/vm/host_test.cc runs it in a guest, with --long";
  }
  ASSERT_TRUE(Limit(tight_.get(), 1LL << 40));
  const std::int64_t total = sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);
  const std::int64_t stalls_before = AllocStalls();
  meter_->Read();
  // More than there is: it is killed, but not before it has looked for memory itself.
  const int result = tight_->Run([total] {
    std::ofstream("/proc/self/oom_score_adj") << 1000;
    auto* memory =
        static_cast<char*>(mmap(nullptr, static_cast<size_t>(total), PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (memory == MAP_FAILED) return 1;
    for (std::int64_t i = 0; i < total; i += 4096) memory[i] = 1;
    return 0;
  });
  meter_->Read();
  EXPECT_EQ(result, 128 + SIGKILL);
  const std::int64_t stalls = AllocStalls() - stalls_before;
  const std::optional<histogram> reclaim =
      meter_->Observed("memory_reclaim_direct_ns", tight_->path());
  ASSERT_TRUE(reclaim.has_value());
  EXPECT_GT(stalls, 0);
  EXPECT_GT(reclaim->count, 0U);
  EXPECT_LE(static_cast<std::int64_t>(reclaim->count), stalls);
  EXPECT_GT(reclaim->sum, reclaim->count * 100);
  EXPECT_EQ(meter_->Observed("memory_reclaim_direct_ns", idle_->path())->count, 0U);
}

}  // namespace
}  // namespace faultline
