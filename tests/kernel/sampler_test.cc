// SPDX-License-Identifier: Apache-2.0
//
// The sampler on the real host: its numbers beside those of the kernel's own files and getrusage.
#include "agent/metrics/sampler.h"

#include <gtest/gtest.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

#include <cstring>
#include <fstream>
#include <optional>

#include "absl/strings/numbers.h"
#include "agent/metrics/perf_source.h"
#include "agent/metrics/report.h"
#include "base/clock.h"
#include "tests/kernel/test_cgroup.h"

namespace faultline {
namespace {

// Burns CPU until this process has used `ns` of it.
int Burn(std::int64_t ns) {
  timespec used{};
  do {
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
  } while (used.tv_sec * kNsPerSecond + used.tv_nsec < ns);
  return 0;
}

// Touches `bytes` of new memory and holds it until killed.
int Hold(size_t bytes) {
  void* const memory =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return 1;
  memset(memory, 1, bytes);
  pause();
  return 0;
}

std::int64_t CpuTimeOfChildren() {
  rusage usage{};
  getrusage(RUSAGE_CHILDREN, &usage);
  const auto ns = [](const timeval& t) { return t.tv_sec * kNsPerSecond + t.tv_usec * 1000; };
  return ns(usage.ru_utime) + ns(usage.ru_stime);
}

class SamplerKernelTest : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root to make control groups";
    auto group = TestCgroup::Create("sampler");
    ASSERT_TRUE(group.ok()) << group.status();
    group_ = *std::move(group);
    SamplerOptions options;
    options.max_cgroups = 200;
    auto sampler = Sampler::Create(options);
    ASSERT_TRUE(sampler.ok()) << sampler.status();
    sampler_ = *std::move(sampler);
    Sample();
  }
  void Sample() {
    frame_.Clear();
    batch_.Clear();
    frame_.set_tick(++tick_);
    sampler_->Sample(&frame_, &batch_);
  }
  bool Measured(const std::string& column) {
    for (const v1::Column& c : sampler_->schema().tables(2).columns()) {
      if (c.name() == column) return c.availability() != v1::AVAILABILITY_MISSING;
    }
    return false;
  }
  // Of this test's group in the last sample; nullopt = null, or there is no such row.
  std::optional<std::int64_t> Value(const std::string& column) {
    std::uint64_t id = 0;
    for (const v1::Entity& entity : batch_.entities()) {
      if (entity.table() == "cgroup" && entity.name() == group_->path()) id = entity.id();
    }
    const v1::TableSchema& schema = sampler_->schema().tables(2);
    const v1::TableFrame& rows = frame_.tables(2);
    for (int c = 0; c < schema.columns_size(); ++c) {
      if (schema.columns(c).name() != column) continue;
      for (int row = 0; row < rows.entities_size(); ++row) {
        const size_t at = static_cast<size_t>(row);
        const std::string& nulls = rows.columns(c).nulls();
        if (rows.entities(row) != id) continue;
        if (!nulls.empty() && (static_cast<unsigned char>(nulls[at / 8]) >> (at % 8) & 1) != 0) {
          return std::nullopt;
        }
        return rows.columns(c).values(row);
      }
    }
    return std::nullopt;
  }

  std::unique_ptr<TestCgroup> group_;
  std::unique_ptr<Sampler> sampler_;
  std::int64_t tick_ = 0;
  v1::Frame frame_;
  v1::Batch batch_;
};

TEST_F(SamplerKernelTest, CpuTimeOfAGroup_IsWhatGetrusageSays) {
  ASSERT_TRUE(Measured("cgroup_cpu_time_ns")) << CapabilityReport(sampler_->schema());
  const std::int64_t before = CpuTimeOfChildren();
  ASSERT_EQ(group_->Run([] { return Burn(200 * kNsPerMs); }), 0);
  const std::int64_t used = CpuTimeOfChildren() - before;
  Sample();
  const std::optional<std::int64_t> measured = Value("cgroup_cpu_time_ns");
  ASSERT_TRUE(measured.has_value());
  // The child's time before it entered the group is in getrusage only.
  EXPECT_NEAR(static_cast<double>(*measured), static_cast<double>(used), 0.05 * 200e6);
  Sample();
  EXPECT_NEAR(static_cast<double>(Value("cgroup_cpu_time_ns").value_or(-1)), 0, 1e6);
}

TEST_F(SamplerKernelTest, MemoryOfAGroup_IsWhatItsFileSays) {
  if (group_->tree().For("memory") == nullptr) GTEST_SKIP() << "no memory controller";
  ASSERT_TRUE(Measured("cgroup_memory_usage_bytes"));
  constexpr size_t kBytes = 32 << 20;
  ASSERT_TRUE(group_->Spawn([] { return Hold(kBytes); }).ok());
  const bool v2 = group_->tree().For("memory")->v2;
  const auto file = [&] {
    std::int64_t bytes = 0;
    EXPECT_TRUE(absl::SimpleAtoi(
        group_->Read("memory", v2 ? "memory.current" : "memory.usage_in_bytes"), &bytes));
    return bytes;
  };
  for (int i = 0; i < 500 && file() < static_cast<std::int64_t>(kBytes); ++i) usleep(10'000);
  Sample();
  // The kernel batches charges by CPU, 64 pages each.
  EXPECT_NEAR(static_cast<double>(Value("cgroup_memory_usage_bytes").value_or(0)),
              static_cast<double>(file()), 1 << 20);
  EXPECT_GE(Value("cgroup_memory_usage_bytes").value_or(0), static_cast<std::int64_t>(kBytes));
}

TEST_F(SamplerKernelTest, ThrottlingOfAGroup_IsWhatCpuStatSays) {
  if (group_->tree().For("cpu") == nullptr) GTEST_SKIP() << "no cpu controller";
  ASSERT_TRUE(Measured("cgroup_cpu_throttled_ns"));
  if (group_->tree().For("cpu")->v2) {
    ASSERT_TRUE(group_->Write("cpu", "cpu.max", "20000 100000").ok());
  } else {
    ASSERT_TRUE(group_->Write("cpu", "cpu.cfs_quota_us", "20000").ok());
  }
  ASSERT_EQ(group_->Run([] { return Burn(60 * kNsPerMs); }), 0);
  Sample();
  EXPECT_GE(Value("cgroup_cpu_throttled_count").value_or(0), 1);
  EXPECT_GT(Value("cgroup_cpu_throttled_ns").value_or(0), 0);
  // The group is new and empty again, so its file and the first increment say the same.
  const std::string stat = group_->Read("cpu", "cpu.stat");
  const bool v2 = group_->tree().For("cpu")->v2;
  for (const std::string& line :
       {absl::StrCat("nr_periods ", Value("cgroup_cpu_periods_count").value_or(-1)),
        absl::StrCat("nr_throttled ", Value("cgroup_cpu_throttled_count").value_or(-1)),
        v2 ? absl::StrCat("throttled_usec ", Value("cgroup_cpu_throttled_ns").value_or(-1) / 1000)
           : absl::StrCat("throttled_time ", Value("cgroup_cpu_throttled_ns").value_or(-1))}) {
    EXPECT_TRUE(absl::StrContains(stat, line)) << line << " in\n" << stat;
  }
}

TEST_F(SamplerKernelTest, GroupRemoved_LeavesTheTable) {
  ASSERT_TRUE(Value("cgroup_memory_usage_bytes").has_value());
  const std::string path = group_->path();
  group_.reset();
  Sample();
  Sample();
  for (const v1::Entity& entity : batch_.entities()) EXPECT_NE(entity.name(), path);
}

// As when a service is restarted: the number of directories is the same at both ticks.
TEST_F(SamplerKernelTest, GroupMadeAgainWithinATick_IsAnotherEntity) {
  const auto id = [&] {
    std::uint64_t found = 0;
    for (const v1::Entity& entity : batch_.entities()) {
      if (entity.name() == group_->path()) found = entity.id();
    }
    return found;
  };
  const std::uint64_t before = id();
  ASSERT_NE(before, 0U);
  group_.reset();
  auto again = TestCgroup::Create("sampler");
  ASSERT_TRUE(again.ok()) << again.status();
  group_ = *std::move(again);
  Sample();
  EXPECT_EQ(id(), before);
  Sample();
  EXPECT_NE(id(), before);
  EXPECT_NE(id(), 0U);
}

TEST_F(SamplerKernelTest, NewSubtree_IsFoundWhole) {
  const std::string outer = group_->Directory("cpu") + "/outer";
  const std::string inner = outer + "/inner";
  ASSERT_EQ(mkdir(outer.c_str(), 0755), 0);
  ASSERT_EQ(mkdir(inner.c_str(), 0755), 0);
  // In one hierarchy only, and its parent had no children: found within a tick per hierarchy.
  for (int i = 0; i < 5; ++i) Sample();
  rmdir(inner.c_str());
  rmdir(outer.c_str());
  bool found = false;
  for (const v1::Entity& entity : batch_.entities()) {
    found |= entity.name() == group_->path() + "/outer/inner";
  }
  EXPECT_TRUE(found);
}

// There is no PMU in most virtual machines; the kernel's own software events go the same way.
TEST(PerfSourceKernelTest, GroupPerCpu_CountsContextSwitches) {
  TextFiles files("/proc", "/sys");
  PerfSource source(&files);
  const PerfField field{PERF_TYPE_SOFTWARE, PERF_COUNT_SW_CONTEXT_SWITCHES};
  const absl::Status status = source.Add(0, field);
  if (absl::IsUnimplemented(status)) GTEST_SKIP() << status;
  ASSERT_TRUE(status.ok()) << status;
  ASSERT_TRUE(source.Add(1, field).ok());
  Entities entities;
  Entity cpu;
  cpu.id = 1;
  cpu.slot = 0;
  entities[static_cast<size_t>(Table::kCpu)].push_back(cpu);

  cpu_set_t first;
  CPU_ZERO(&first);
  CPU_SET(0, &first);
  ASSERT_EQ(sched_setaffinity(0, sizeof(first), &first), 0) << "CPU 0 is not ours to use";
  std::vector<std::int64_t> seen;
  rusage before{};
  rusage after{};
  for (int round = 0; round < 2; ++round) {
    std::vector<Column> columns(2);
    for (Column& column : columns) column.values.resize(1);
    // One switch at least, as an event that never counted is null.
    for (int i = 0; i < 100; ++i) usleep(100);
    source.Read(entities, &columns);
    getrusage(RUSAGE_SELF, round == 0 ? &before : &after);
    ASSERT_TRUE(round == 0 || columns[0].values[0].has_value());
    // Two events of one group see the same.
    EXPECT_EQ(columns[0].values[0], columns[1].values[0]);
    seen.push_back(columns[0].values[0].value_or(0));
  }
  // Ours are among the CPU's.
  EXPECT_GE(seen[1] - seen[0], after.ru_nvcsw - before.ru_nvcsw);
  // A sleep whose time is over before it begins switches nothing.
  EXPECT_GE(after.ru_nvcsw - before.ru_nvcsw, 50);
}

}  // namespace
}  // namespace faultline
