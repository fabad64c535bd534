// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics/cgroup_source.h"

#include <gtest/gtest.h>

#include "tests/agent/metrics/fake_host.h"

namespace faultline {
namespace {

size_t IndexOf(absl::string_view column) {
  for (size_t i = 0; i < Metrics().size(); ++i) {
    if (Metrics()[i].table == Table::kCgroup && Metrics()[i].column == column) return i;
  }
  ADD_FAILURE() << "no column " << column;
  return 0;
}

const Field& CgroupFieldOf(size_t index) {
  for (const Field& field : Metrics()[index].fields) {
    if (std::holds_alternative<CgroupField>(field)) return field;
  }
  ADD_FAILURE();
  return Metrics()[index].fields[0];
}

class CgroupSourceTest : public testing::Test {
 protected:
  void Create() {
    auto index = CgroupIndex::Create(host_.Tree(), 64, &next_id_);
    ASSERT_TRUE(index.ok()) << index.status();
    index_ = *std::move(index);
    source_ = std::make_unique<CgroupSource>(index_.get());
  }
  absl::Status Add(const char* column) {
    return source_->Add(IndexOf(column), CgroupFieldOf(IndexOf(column)));
  }
  void Read() {
    index_->Refresh();
    entities_[static_cast<size_t>(Table::kCgroup)] = index_->entities();
    columns_ = std::vector<Column>(Metrics().size());
    for (Column& column : columns_) column.values.resize(index_->entities().size());
    source_->Read(entities_, &columns_);
  }
  std::optional<std::int64_t> Value(const char* column, const std::string& group) {
    for (size_t row = 0; row < index_->entities().size(); ++row) {
      if (index_->entities()[row].name == group) return columns_[IndexOf(column)].values[row];
    }
    ADD_FAILURE() << "no row " << group;
    return std::nullopt;
  }

  FakeHost host_;
  std::uint64_t next_id_ = 1;
  std::unique_ptr<CgroupIndex> index_;
  std::unique_ptr<CgroupSource> source_;
  Entities entities_;
  std::vector<Column> columns_;
};

TEST_F(CgroupSourceTest, V2_ReadsEveryFile) {
  host_.MountV2("cpu memory io");
  host_.MakeGroup("unified", "/web");
  host_.WriteGroup("unified", "/web", "cpu.stat", TestData("cpu.stat.v2"));
  host_.WriteGroup("unified", "/web", "memory.current", "4096\n");
  host_.WriteGroup("unified", "/web", "memory.events", TestData("memory.events.v2"));
  Create();
  struct {
    const char* column;
    std::int64_t expected;
  } const cases[] = {
      {"cgroup_cpu_time_ns", 123'456'789'000}, {"cgroup_cpu_periods_count", 400},
      {"cgroup_cpu_throttled_count", 37},      {"cgroup_cpu_throttled_ns", 1'250'000'000},
      {"cgroup_memory_usage_bytes", 4096},     {"cgroup_memory_events_low_count", 1},
      {"cgroup_memory_events_high_count", 22}, {"cgroup_memory_events_max_count", 333},
      {"cgroup_memory_events_oom_count", 4},   {"cgroup_memory_events_oom_kill_count", 5},
      {"memory_oom_kills_count", 5},
  };
  for (const auto& c : cases) EXPECT_TRUE(Add(c.column).ok()) << c.column;
  Read();
  for (const auto& c : cases) EXPECT_EQ(Value(c.column, "/web"), c.expected) << c.column;
  // The root has none of these files on v2.
  EXPECT_EQ(Value("cgroup_memory_usage_bytes", "/"), std::nullopt);
  EXPECT_EQ(Value("cgroup_memory_usage_bytes", "~other"), std::nullopt);
  EXPECT_EQ(source_->Hook(CgroupFieldOf(IndexOf("cgroup_cpu_throttled_ns"))),
            "cgroup v2 cpu.stat throttled_usec");
}

TEST_F(CgroupSourceTest, V1_ReadsEachControllersHierarchy) {
  host_.MountV1(1, "cpu");
  host_.MountV1(2, "cpuacct");
  host_.MountV1(4, "memory");
  host_.MountV2("hugetlb");
  host_.MakeGroup("cpu", "/web");
  host_.MakeGroup("memory", "/web");
  host_.WriteGroup("cpu", "/web", "cpu.stat", "nr_periods 5\nnr_throttled 3\nthrottled_time 77\n");
  host_.WriteGroup("memory", "/web", "memory.usage_in_bytes", "8192\n");
  host_.WriteGroup("memory", "/web", "memory.failcnt", "9\n");
  host_.WriteGroup("memory", "/web", "memory.oom_control", TestData("memory.oom_control.v1"));
  Create();
  for (const char* column :
       {"cgroup_cpu_time_ns", "cgroup_cpu_periods_count", "cgroup_cpu_throttled_count",
        "cgroup_cpu_throttled_ns", "cgroup_memory_usage_bytes", "cgroup_memory_events_max_count",
        "cgroup_memory_events_oom_kill_count"}) {
    EXPECT_TRUE(Add(column).ok()) << column;
  }
  const absl::Status low = Add("cgroup_memory_events_low_count");
  EXPECT_TRUE(absl::IsUnimplemented(low)) << low;
  Read();
  EXPECT_EQ(Value("cgroup_cpu_periods_count", "/web"), 5);
  EXPECT_EQ(Value("cgroup_cpu_throttled_ns", "/web"), 77);
  EXPECT_EQ(Value("cgroup_memory_usage_bytes", "/web"), 8192);
  EXPECT_EQ(Value("cgroup_memory_events_max_count", "/web"), 9);
  EXPECT_EQ(Value("cgroup_memory_events_oom_kill_count", "/web"), 0);
  EXPECT_EQ(Value("cgroup_cpu_time_ns", "/web"), std::nullopt);
  // A hierarchy that the group enters later is opened then.
  host_.MakeGroup("cpuacct", "/web");
  host_.WriteGroup("cpuacct", "/web", "cpuacct.usage", "123\n");
  Read();
  EXPECT_EQ(Value("cgroup_cpu_time_ns", "/web"), 123);
}

TEST_F(CgroupSourceTest, ControllerThatIsSwitchedOnLater_IsReadWithinTenTicks) {
  host_.MountV2("memory");
  host_.MakeGroup("unified", "/web");
  Create();
  ASSERT_TRUE(Add("cgroup_memory_usage_bytes").ok());
  Read();
  EXPECT_EQ(Value("cgroup_memory_usage_bytes", "/web"), std::nullopt);
  host_.WriteGroup("unified", "/web", "memory.current", "4096\n");
  for (int tick = 0; tick < 10; ++tick) Read();
  EXPECT_EQ(Value("cgroup_memory_usage_bytes", "/web"), 4096);
}

TEST_F(CgroupSourceTest, NoController_IsUnimplementedWithItsName) {
  host_.MountV1(1, "cpu");
  Create();
  const absl::Status status = Add("cgroup_memory_usage_bytes");
  EXPECT_TRUE(absl::IsUnimplemented(status));
  EXPECT_EQ(status.message(), "no control group hierarchy has the memory controller");
}

}  // namespace
}  // namespace faultline
