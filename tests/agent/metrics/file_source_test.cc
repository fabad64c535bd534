// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics/file_source.h"

#include <gtest/gtest.h>

#include "tests/agent/metrics/fake_host.h"

namespace faultline {
namespace {

size_t IndexOf(Table table, absl::string_view column) {
  for (size_t i = 0; i < Metrics().size(); ++i) {
    if (Metrics()[i].table == table && Metrics()[i].column == column) return i;
  }
  ADD_FAILURE() << "no column " << column;
  return 0;
}

Entity Named(const std::string& name) {
  Entity entity;
  entity.name = name;
  return entity;
}

class FileSourceTest : public testing::Test {
 protected:
  FileSourceTest() {
    host_.Write("/proc/stat", TestData("stat"));
    host_.Write("/proc/meminfo", TestData("meminfo"));
    host_.Write("/proc/vmstat", TestData("vmstat"));
    host_.Write("/proc/diskstats", TestData("diskstats"));
    host_.Write("/proc/net/dev", TestData("net_dev"));
    entities_[static_cast<size_t>(Table::kHost)] = {Named("host")};
    entities_[static_cast<size_t>(Table::kCpu)] = {Named("1"), Named("0"), Named("7")};
    entities_[static_cast<size_t>(Table::kDisk)] = {Named("vda")};
    entities_[static_cast<size_t>(Table::kNetdev)] = {Named("lo"), Named("eth0")};
  }

  // The values of `field` as metric `index`.
  std::vector<std::optional<std::int64_t>> Read(size_t index, const FileField& field) {
    FileSource source(&files_);
    const absl::Status status = source.Add(index, field);
    EXPECT_TRUE(status.ok()) << status;
    std::vector<Column> columns(Metrics().size());
    columns[index].values.resize(entities_[static_cast<size_t>(Metrics()[index].table)].size());
    source.Read(entities_, &columns);
    return columns[index].values;
  }
  const FileField& FieldOf(size_t index) {
    for (const Field& field : Metrics()[index].fields) {
      if (const auto* file = std::get_if<FileField>(&field); file != nullptr) return *file;
    }
    ADD_FAILURE();
    return std::get<FileField>(Metrics()[0].fields[0]);
  }

  FakeHost host_;
  TextFiles files_{host_.proc(), host_.sys()};
  Entities entities_;
};

using Values = std::vector<std::optional<std::int64_t>>;

// Expected numbers are those that stand in tests/testdata/metrics, taken from a 6.18 kernel.
TEST_F(FileSourceTest, Read_FilesOfThisKernel) {
  struct {
    Table table;
    const char* column;
    Values expected;
  } const cases[] = {
      {Table::kHost, "system_cpu_time_user_ns", {207479 * 10'000'000LL}},
      {Table::kHost, "system_cpu_time_idle_ns", {431450 * 10'000'000LL}},
      {Table::kHost, "system_cpu_time_steal_ns", {4366 * 10'000'000LL}},
      {Table::kCpu,
       "system_cpu_time_user_ns",
       {109091 * 10'000'000LL, 98387 * 10'000'000LL, std::nullopt}},
      {Table::kHost, "system_memory_limit_bytes", {24684084 * 1024LL}},
      {Table::kHost,
       "system_memory_used_bytes",
       {(24684084 - 21767840 - 14500 - 2285364 - 153656) * 1024LL}},
      {Table::kHost, "system_memory_available_bytes", {23907748 * 1024LL}},
      {Table::kHost, "system_memory_committed_bytes", {374972 * 1024LL}},
      {Table::kHost, "system_paging_faults_minor_count", {43929685 - 4333}},
      {Table::kHost, "system_paging_faults_major_count", {4333}},
      {Table::kHost, "memory_oom_kills_count", {0}},
      {Table::kDisk, "system_disk_read_bytes", {8008898 * 512LL}},
      {Table::kDisk, "system_disk_write_bytes", {12453384 * 512LL}},
      {Table::kDisk, "system_disk_other_bytes", {6217960 * 512LL}},
      {Table::kDisk, "system_disk_read_count", {164695}},
      {Table::kDisk, "system_disk_write_count", {96342}},
      {Table::kDisk, "system_disk_other_count", {16005}},
      {Table::kDisk, "system_disk_io_time_ns", {40096 * 1'000'000LL}},
      {Table::kDisk, "disk_inflight_count", {0}},
      {Table::kNetdev, "system_network_receive_bytes", {3367, 329801564}},
      {Table::kNetdev, "system_network_transmit_bytes", {3367, 457442}},
      {Table::kNetdev, "system_network_receive_packets_count", {31, 8196}},
      {Table::kNetdev, "system_network_transmit_packets_count", {31, 6236}},
      {Table::kNetdev, "system_network_transmit_dropped_count", {0, 0}},
  };
  for (const auto& c : cases) {
    const size_t index = IndexOf(c.table, c.column);
    EXPECT_EQ(Read(index, FieldOf(index)), c.expected) << c.column;
  }
}

TEST_F(FileSourceTest, Add_KernelWithoutTheColumnOrFile_IsUnimplemented) {
  // Before 4.18 there were no discards.
  host_.Write("/proc/diskstats", "   8       0 sda 1 2 3 4 5 6 7 8 9 10 11\n");
  FileSource source(&files_);
  const size_t index = IndexOf(Table::kDisk, "system_disk_other_bytes");
  EXPECT_TRUE(absl::IsUnimplemented(source.Add(index, FieldOf(index))));
  const FileField none{"/proc/none", "key", 0};
  EXPECT_TRUE(absl::IsUnimplemented(source.Add(0, none)));
  const FileField no_line{"/proc/vmstat", "pgfault -nonesuch", 0};
  EXPECT_TRUE(absl::IsUnimplemented(source.Add(0, no_line)));
}

TEST_F(FileSourceTest, Read_TermThatWentAway_IsNull) {
  FileSource source(&files_);
  const size_t index = IndexOf(Table::kHost, "system_paging_faults_minor_count");
  ASSERT_TRUE(source.Add(index, FieldOf(index)).ok());
  host_.Write("/proc/vmstat", "pgfault 10\n");
  files_.BeginTick();
  std::vector<Column> columns(Metrics().size());
  columns[index].values.resize(1);
  source.Read(entities_, &columns);
  EXPECT_EQ(columns[index].values, Values{std::nullopt});
}

}  // namespace
}  // namespace faultline
