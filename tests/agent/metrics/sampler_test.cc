// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics/sampler.h"

#include <gtest/gtest.h>

#include <map>

#include "agent/metrics/metric.h"
#include "tests/agent/metrics/fake_host.h"

namespace faultline {
namespace {

std::string NetDev(std::int64_t bytes) {
  return absl::StrCat("Inter-| x\n face |bytes x\n  eth0: ", bytes,
                      " 2 0 0 0 0 0 0 5 6 0 0 0 0 0 0\n");
}

class SamplerTest : public testing::Test {
 protected:
  SamplerTest() {
    host_.MountV2("cpu memory");
    host_.Write("/proc/stat", TestData("stat"));
    host_.Write("/proc/meminfo", TestData("meminfo"));
    host_.Write("/proc/vmstat", "pgfault 1000\npgmajfault 10\noom_kill 0\n");
    host_.Write("/proc/diskstats", TestData("diskstats"));
    host_.Write("/proc/net/dev", NetDev(100));
    host_.Write("/proc/self/statm", "1000 250 0 0 0 0 0\n");
    host_.Write("/sys/devices/system/cpu/online", "0-1\n");
    host_.Write("/sys/block/vda/dev", "254:0\n");
    MakeGroup("/web");
  }

  void MakeGroup(const std::string& path) {
    host_.MakeGroup("unified", path);
    SetUsage(path, 5);
    host_.WriteGroup("unified", path, "memory.current", "4096\n");
  }
  void SetUsage(const std::string& path, int usec) {
    host_.WriteGroup("unified", path, "cpu.stat",
                     absl::StrCat("usage_usec ", usec, "\nnr_periods 0\nnr_throttled 0\n",
                                  "throttled_usec 0\n"));
  }
  void Create(int max_cgroups = 64) {
    SamplerOptions options;
    options.proc = host_.proc();
    options.sys = host_.sys();
    options.kernel = false;
    options.max_cgroups = max_cgroups;
    auto sampler = Sampler::Create(options);
    ASSERT_TRUE(sampler.ok()) << sampler.status();
    sampler_ = *std::move(sampler);
  }
  void Sample() {
    frame_.Clear();
    batch_.Clear();
    frame_.set_tick(++tick_);
    sampler_->Sample(&frame_, &batch_);
  }
  // A value of the last sample; nullopt = null. Fails where there is no such row or column.
  std::optional<std::int64_t> Value(const std::string& table, const std::string& column,
                                    const std::string& entity) {
    std::uint64_t id = 0;
    for (const v1::Entity& e : batch_.entities()) {
      if (e.table() == table && e.name() == entity) id = e.id();
    }
    for (const v1::TableFrame& rows : frame_.tables()) {
      const v1::TableSchema& schema = sampler_->schema().tables(static_cast<int>(rows.table()));
      if (schema.name() != table) continue;
      EXPECT_EQ(schema.columns_size(), rows.columns_size());
      for (int c = 0; c < schema.columns_size(); ++c) {
        if (schema.columns(c).name() != column) continue;
        const v1::ColumnFrame& values = rows.columns(c);
        for (int row = 0; row < rows.entities_size(); ++row) {
          if (rows.entities(row) != id) continue;
          const std::string& nulls = values.nulls();
          const size_t at = static_cast<size_t>(row);
          if (!nulls.empty() && (static_cast<unsigned char>(nulls[at / 8]) >> (at % 8) & 1) != 0) {
            return std::nullopt;
          }
          return values.values(row);
        }
      }
    }
    ADD_FAILURE() << table << "." << column << " of " << entity;
    return std::nullopt;
  }
  const v1::Column* ColumnOf(const std::string& table, const std::string& name) {
    for (const v1::TableSchema& schema : sampler_->schema().tables()) {
      for (const v1::Column& column : schema.columns()) {
        if (schema.name() == table && column.name() == name) return &column;
      }
    }
    return nullptr;
  }
  bool Has(const std::string& table, const std::string& entity) {
    for (const v1::Entity& e : batch_.entities()) {
      if (e.table() == table && e.name() == entity) return true;
    }
    return false;
  }

  FakeHost host_;
  std::unique_ptr<Sampler> sampler_;
  std::int64_t tick_ = 100;
  v1::Frame frame_;
  v1::Batch batch_;
};

TEST_F(SamplerTest, TwoTicks_CountersAreExactIncrements_GaugesAreValues) {
  Create();
  Sample();
  EXPECT_EQ(Value("netdev", "system_network_receive_bytes", "eth0"), std::nullopt);
  EXPECT_EQ(Value("cgroup", "cgroup_cpu_time_ns", "/web"), std::nullopt);
  EXPECT_EQ(Value("cgroup", "cgroup_memory_usage_bytes", "/web"), 4096);
  EXPECT_EQ(Value("host", "system_memory_limit_bytes", "host"), 24684084LL * 1024);
  EXPECT_EQ(Value("host", "agent_memory_rss_bytes", "host"), 250 * ::sysconf(_SC_PAGESIZE));

  host_.Write("/proc/net/dev", NetDev(175));
  host_.Write("/proc/vmstat", "pgfault 1500\npgmajfault 20\noom_kill 1\n");
  SetUsage("/web", 12);
  Sample();
  EXPECT_EQ(Value("netdev", "system_network_receive_bytes", "eth0"), 75);
  EXPECT_EQ(Value("netdev", "system_network_transmit_bytes", "eth0"), 0);
  EXPECT_EQ(Value("host", "system_paging_faults_minor_count", "host"), 490);
  EXPECT_EQ(Value("host", "system_paging_faults_major_count", "host"), 10);
  EXPECT_EQ(Value("host", "memory_oom_kills_count", "host"), 1);
  EXPECT_EQ(Value("cpu", "system_cpu_time_user_ns", "1"), 0);
  EXPECT_EQ(Value("cgroup", "cgroup_cpu_time_ns", "/web"), 7000);
  EXPECT_EQ(Value("cgroup", "cgroup_cpu_time_ns", "~other"), std::nullopt);
  EXPECT_GT(Value("host", "agent_cpu_time_ns", "host"), 0);
  EXPECT_GT(Value("host", "agent_sample_time_ns", "host"), 0);
}

TEST_F(SamplerTest, CounterReset_IsNullOnce) {
  Create();
  Sample();
  host_.Write("/proc/net/dev", NetDev(40));
  Sample();
  EXPECT_EQ(Value("netdev", "system_network_receive_bytes", "eth0"), std::nullopt);
  host_.Write("/proc/net/dev", NetDev(41));
  Sample();
  EXPECT_EQ(Value("netdev", "system_network_receive_bytes", "eth0"), 1);
}

TEST_F(SamplerTest, GroupsComeAndGo) {
  Create();
  Sample();
  MakeGroup("/job");
  SetUsage("/job", 100);
  Sample();
  EXPECT_EQ(Value("cgroup", "cgroup_cpu_time_ns", "/job"), std::nullopt);
  SetUsage("/job", 103);
  Sample();
  EXPECT_EQ(Value("cgroup", "cgroup_cpu_time_ns", "/job"), 3000);
  host_.RemoveGroup("unified", "/job");
  Sample();
  EXPECT_TRUE(Has("cgroup", "/job"));
  EXPECT_EQ(Value("cgroup", "cgroup_memory_usage_bytes", "/job"), std::nullopt);
  Sample();
  EXPECT_FALSE(Has("cgroup", "/job"));
  EXPECT_TRUE(Has("cgroup", "/web"));
}

TEST_F(SamplerTest, MoreGroupsThanRows_AreFoldedCountedAndTold) {
  for (int i = 0; i < 10; ++i) MakeGroup(absl::StrCat("/g", i));
  Create(4);
  Sample();
  // "/" and three of eleven.
  EXPECT_EQ(Value("host", "agent_cgroups_folded_count", "host"), 8);
  ASSERT_EQ(batch_.events_size(), 1);
  EXPECT_EQ(batch_.events(0).kind(), "entities_folded");
  EXPECT_EQ(batch_.events(0).detail(),
            "8 control groups have no row of their own and count in ~other: /g3, /g4, /g5, /g6, "
            "/g7, ...");
  Sample();
  EXPECT_EQ(batch_.events_size(), 0);
}

TEST_F(SamplerTest, Schema_SaysWhatIsMissingAndWhy) {
  Create();
  ASSERT_NE(ColumnOf("cgroup", "sched_runqueue_wait_ns"), nullptr);
  EXPECT_EQ(ColumnOf("cgroup", "sched_runqueue_wait_ns")->availability(), v1::AVAILABILITY_MISSING);
  EXPECT_EQ(ColumnOf("cgroup", "sched_runqueue_wait_ns")->reason(),
            "BPF and perf events are switched off");
  EXPECT_EQ(ColumnOf("cgroup", "cgroup_cpu_time_ns")->availability(), v1::AVAILABILITY_DEGRADED);
  EXPECT_EQ(ColumnOf("host", "system_cpu_time_user_ns")->availability(),
            v1::AVAILABILITY_AVAILABLE);
  ASSERT_NE(ColumnOf("fault", "fault_dose"), nullptr);
  Sample();
  EXPECT_EQ(Value("cgroup", "sched_runqueue_wait_ns", "/web"), std::nullopt);
}

TEST_F(SamplerTest, Schema_IdIsAFingerprint) {
  Create();
  const std::uint64_t id = sampler_->schema().id();
  EXPECT_NE(id, 0U);
  Create();
  EXPECT_EQ(sampler_->schema().id(), id);
  host_.Write("/proc/vmstat", "pgfault 1000\n");
  Create();
  EXPECT_NE(sampler_->schema().id(), id);
}

TEST_F(SamplerTest, Frame_HasEveryTableButFault_AndNamesItsEntitiesOnce) {
  Create();
  Sample();
  ASSERT_EQ(frame_.tables_size(), kTables - 1);
  // A second frame of the same batch.
  v1::Frame second;
  second.set_tick(++tick_);
  const int entities = batch_.entities_size();
  sampler_->Sample(&second, &batch_);
  EXPECT_EQ(batch_.entities_size(), entities);
  for (const v1::TableFrame& rows : frame_.tables()) {
    for (const std::uint64_t id : rows.entities()) {
      int named = 0;
      for (const v1::Entity& entity : batch_.entities()) named += entity.id() == id ? 1 : 0;
      EXPECT_EQ(named, 1);
    }
  }
}

TEST_F(SamplerTest, SkippedTicks_AreCounted) {
  Create();
  Sample();
  sampler_->CountSkippedTicks(3);
  Sample();
  EXPECT_EQ(Value("host", "agent_ticks_skipped_count", "host"), 3);
  Sample();
  EXPECT_EQ(Value("host", "agent_ticks_skipped_count", "host"), 0);
}

TEST_F(SamplerTest, HostWithoutControlGroups_MeasuresTheRest) {
  host_.Write("/proc/self/mountinfo", "");
  Create();
  Sample();
  EXPECT_TRUE(Has("cgroup", "~other"));
  EXPECT_EQ(ColumnOf("cgroup", "cgroup_cpu_time_ns")->availability(), v1::AVAILABILITY_MISSING);
  EXPECT_EQ(Value("host", "system_memory_limit_bytes", "host"), 24684084LL * 1024);
}

TEST(Sampler_Create, NoProc_IsAnError) {
  SamplerOptions options;
  options.proc = "/nonexistent";
  options.kernel = false;
  EXPECT_TRUE(absl::IsFailedPrecondition(Sampler::Create(options).status()));
}

}  // namespace
}  // namespace faultline
