// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdint>

#include "tests/kernel/bpf_meter.h"
#include "tests/kernel/test_cgroup.h"

namespace faultline {
namespace {

constexpr size_t kPage = 4096;
constexpr long kPages = 5000;

// Touches fresh pages, each a fault.
bool Touch(long pages) {
  const size_t size = static_cast<size_t>(pages) * kPage;
  auto* memory = static_cast<char*>(
      mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (memory == MAP_FAILED) return false;
  // A huge page would be one fault.
  madvise(memory, size, MADV_NOHUGEPAGE);
  for (size_t i = 0; i < size; i += kPage) memory[i] = 1;
  return munmap(memory, size) == 0;
}

class TasksMetric : public ::testing::Test {
 protected:
  void SetUp() override {
    busy_ = *TestCgroup::Create("tasks-busy");
    idle_ = *TestCgroup::Create("tasks-idle");
  }
  void StartMeter() {
    absl::StatusOr<std::unique_ptr<BpfMeter>> meter = BpfMeter::Create("tasks");
    ASSERT_TRUE(meter.ok()) << meter.status();
    meter_ = *std::move(meter);
    NEED_METRIC(*meter_, "process_paging_faults_minor_count");
  }
  std::int64_t Minor(const TestCgroup& group) {
    return meter_->Count("process_paging_faults_minor_count", group.path()).value_or(-1);
  }

  std::unique_ptr<TestCgroup> busy_;
  std::unique_ptr<TestCgroup> idle_;
  std::unique_ptr<BpfMeter> meter_;
};

TEST_F(TasksMetric, FaultsOfAShortLivedTaskAreThoseOfItsRusage) {
  StartMeter();
  if (IsSkipped() || HasFatalFailure()) return;
  meter_->Read();
  const pid_t pid = *busy_->Spawn([] { return Touch(kPages) ? 0 : 1; });
  int status = 0;
  rusage used{};
  ASSERT_EQ(wait4(pid, &status, 0, &used), pid);
  EXPECT_EQ(status, 0);
  meter_->Read();
  EXPECT_GE(used.ru_minflt, kPages);
  // A few faults of the child come before it is in the group, and after it said goodbye.
  EXPECT_NEAR(static_cast<double>(Minor(*busy_)), static_cast<double>(used.ru_minflt), 20);
  EXPECT_EQ(Minor(*idle_), 0);
  // What is dead is not counted twice.
  meter_->Read();
  EXPECT_EQ(Minor(*busy_), 0);
}

TEST_F(TasksMetric, TaskThatLivedBeforeStartsFromItsPresentValue) {
  int go[2];
  int done[2];
  ASSERT_EQ(pipe2(go, O_CLOEXEC), 0);
  ASSERT_EQ(pipe2(done, O_CLOEXEC), 0);
  ASSERT_TRUE(busy_
                  ->Spawn([&] {
                    char byte = 0;
                    for (const long pages : {3 * kPages, kPages}) {
                      if (!Touch(pages) || write(done[1], "x", 1) != 1) return 1;
                      if (read(go[0], &byte, 1) != 1) return 1;
                    }
                    return 0;
                  })
                  .ok());
  char byte = 0;
  ASSERT_EQ(read(done[0], &byte, 1), 1);
  StartMeter();
  if (IsSkipped() || HasFatalFailure()) return;
  meter_->Read();
  ASSERT_EQ(write(go[1], "x", 1), 1);
  ASSERT_EQ(read(done[0], &byte, 1), 1);
  meter_->Read();
  EXPECT_NEAR(static_cast<double>(Minor(*busy_)), kPages, 20);
  EXPECT_EQ(meter_->Count("process_paging_faults_major_count", idle_->path()), 0);
  for (const int fd : {go[0], go[1], done[0], done[1]}) close(fd);
}

TEST_F(TasksMetric, ReadOfAFileThatIsNotInMemoryIsAMajorFault) {
  char path[] = "/var/tmp/faultline-test-XXXXXX";
  const int fd = mkstemp(path);
  ASSERT_GE(fd, 0);
  unlink(path);
  constexpr size_t kSize = 64 * kPage;
  const std::string text(kSize, 'x');
  ASSERT_EQ(write(fd, text.data(), kSize), static_cast<ssize_t>(kSize));
  ASSERT_EQ(fsync(fd), 0);
  ASSERT_EQ(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
  StartMeter();
  if (IsSkipped() || HasFatalFailure()) return;
  meter_->Read();
  const pid_t pid = *busy_->Spawn([fd] {
    auto* memory = static_cast<char*>(mmap(nullptr, kSize, PROT_READ, MAP_PRIVATE, fd, 0));
    if (memory == MAP_FAILED) return 1;
    madvise(memory, kSize, MADV_RANDOM);
    int sum = 0;
    for (size_t i = 0; i < kSize; i += kPage) sum += memory[i];
    return sum == 64 * 'x' ? 0 : 2;
  });
  int status = 0;
  rusage used{};
  ASSERT_EQ(wait4(pid, &status, 0, &used), pid);
  EXPECT_EQ(status, 0);
  meter_->Read();
  close(fd);
  if (used.ru_majflt == 0) GTEST_SKIP() << "this file system keeps the file in memory";
  EXPECT_EQ(meter_->Count("process_paging_faults_major_count", busy_->path()), used.ru_majflt);
  EXPECT_EQ(meter_->Count("process_paging_faults_major_count", idle_->path()), 0);
}

}  // namespace
}  // namespace faultline
