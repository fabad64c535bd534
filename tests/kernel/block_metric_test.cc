// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "tests/kernel/bpf_meter.h"
#include "tests/kernel/test_cgroup.h"

namespace faultline {
namespace {

constexpr int kWrites = 64;
constexpr size_t kBytes = 131'072;

// The first numbers of a disk's line in /proc/diskstats.
struct DiskStats {
  std::int64_t reads = 0;
  std::int64_t sectors_read = 0;
  std::int64_t writes = 0;
  std::int64_t sectors_written = 0;
};

DiskStats ReadDiskStats(const std::string& disk) {
  std::ifstream in("/proc/diskstats");
  for (std::string line; std::getline(in, line);) {
    std::istringstream words(line);
    int major = 0;
    int minor = 0;
    std::string name;
    std::int64_t skip = 0;
    DiskStats stats;
    words >> major >> minor >> name >> stats.reads >> skip >> stats.sectors_read >> skip >>
        stats.writes >> skip >> stats.sectors_written;
    if (name == disk) return stats;
  }
  return {};
}

// Writes kWrites blocks past the page cache and, if `read`, reads them back; 0 = done.
int Transfer(const char* path, bool read_back) {
  void* block = nullptr;
  if (posix_memalign(&block, 4096, kBytes) != 0) return 1;
  memset(block, 'x', kBytes);
  const int fd = open(path, O_RDWR | O_CREAT | O_DIRECT | O_CLOEXEC, 0600);
  if (fd < 0) return errno == EINVAL ? 77 : 2;
  for (int i = 0; i < kWrites; ++i) {
    const auto offset = static_cast<off_t>(kBytes) * i;
    if (!read_back && pwrite(fd, block, kBytes, offset) != static_cast<ssize_t>(kBytes)) return 3;
    if (read_back && pread(fd, block, kBytes, offset) != static_cast<ssize_t>(kBytes)) return 4;
  }
  return fsync(fd) == 0 ? 0 : 5;
}

class BlockMetric : public ::testing::Test {
 protected:
  void SetUp() override {
    char path[] = "/var/tmp/faultline-test-XXXXXX";
    const int fd = mkstemp(path);
    ASSERT_GE(fd, 0);
    path_ = path;
    struct stat info {};
    fstat(fd, &info);
    close(fd);
    const std::string link =
        absl::StrCat("/sys/dev/block/", major(info.st_dev), ":", minor(info.st_dev));
    std::error_code none;
    const std::filesystem::path device = std::filesystem::canonical(link, none);
    if (none) GTEST_SKIP() << "the file system of /var/tmp is on no block device";
    const bool partition = std::filesystem::exists(device / "partition");
    disk_ = (partition ? device.parent_path() : device).filename();

    busy_ = *TestCgroup::Create("disk-busy");
    idle_ = *TestCgroup::Create("disk-idle");
    absl::StatusOr<std::unique_ptr<BpfMeter>> meter = BpfMeter::Create("block");
    ASSERT_TRUE(meter.ok()) << meter.status();
    meter_ = *std::move(meter);
    for (const char* column : {"cgroup_disk_write_bytes", "disk_latency_write_ns"}) {
      NEED_METRIC(*meter_, column);
    }
  }
  void TearDown() override { unlink(path_.c_str()); }

  std::int64_t Count(const std::string& column, const std::string& entity) {
    const std::optional<std::int64_t> count = meter_->Count(column, entity);
    EXPECT_TRUE(count.has_value()) << column << " of " << entity;
    return count.value_or(-1);
  }

  std::string path_;
  std::string disk_;
  std::unique_ptr<TestCgroup> busy_;
  std::unique_ptr<TestCgroup> idle_;
  std::unique_ptr<BpfMeter> meter_;
};

TEST_F(BlockMetric, BytesAndOperationsAreTheIssuersAndTheDisks) {
  const auto total = static_cast<std::int64_t>(kBytes) * kWrites;
  for (const bool read_back : {false, true}) {
    const std::string way = read_back ? "read" : "write";
    const DiskStats before = ReadDiskStats(disk_);
    meter_->Read();
    const int result = busy_->Run([&] { return Transfer(path_.c_str(), read_back); });
    if (result == 77) GTEST_SKIP() << "the file system of /var/tmp has no O_DIRECT";
    ASSERT_EQ(result, 0);
    meter_->Read();
    const DiskStats after = ReadDiskStats(disk_);

    const std::int64_t group_bytes = Count("cgroup_disk_" + way + "_bytes", busy_->path());
    EXPECT_GE(group_bytes, total);
    // Metadata of the file system may come on top.
    EXPECT_LT(group_bytes, total + total / 4);
    EXPECT_GE(Count("cgroup_disk_" + way + "_count", busy_->path()), kWrites);
    EXPECT_EQ(Count("cgroup_disk_" + way + "_bytes", idle_->path()), 0);

    // Somebody else may use the disk between our two readings and /proc's.
    const std::int64_t sectors = read_back ? after.sectors_read - before.sectors_read
                                           : after.sectors_written - before.sectors_written;
    const std::int64_t operations =
        read_back ? after.reads - before.reads : after.writes - before.writes;
    EXPECT_LE(Count("system_disk_" + way + "_bytes", disk_), sectors * 512);
    EXPECT_GE(Count("system_disk_" + way + "_bytes", disk_), group_bytes);
    EXPECT_LE(Count("system_disk_" + way + "_count", disk_), operations);
    EXPECT_NEAR(static_cast<double>(Count("system_disk_" + way + "_count", disk_)),
                static_cast<double>(operations), 0.1 * static_cast<double>(operations) + 5);

    const std::optional<histogram> latency = meter_->Observed("disk_latency_" + way + "_ns", disk_);
    ASSERT_TRUE(latency.has_value());
    EXPECT_EQ(static_cast<std::int64_t>(latency->count),
              Count("system_disk_" + way + "_count", disk_));
    // Between a microsecond and a second each.
    EXPECT_GT(latency->sum, latency->count * 1'000U);
    EXPECT_LT(latency->sum, latency->count * 1'000'000'000U);
  }
}

}  // namespace
}  // namespace faultline
