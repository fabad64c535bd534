// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics/inventory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/agent/metrics/fake_host.h"

namespace faultline {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST(ParseCpuList, TakesWhatTheKernelWrites) {
  EXPECT_THAT(ParseCpuList("0\n"), ElementsAre(0));
  EXPECT_THAT(ParseCpuList("0-2,5,7-8\n"), ElementsAre(0, 1, 2, 5, 7, 8));
  for (const char* bad : {"", "x", "3-1", "0-99999", "-1"}) {
    EXPECT_THAT(ParseCpuList(bad), IsEmpty()) << bad;
  }
}

class InventoryTest : public testing::Test {
 protected:
  InventoryTest() {
    host_.MountV2("cpu");
    host_.Write("/sys/devices/system/cpu/online", "0-1\n");
    for (const char* disk : {"vda", "sdb", "loop0", "zram0", "dm-0"}) {
      host_.Write(std::string("/sys/block/") + disk + "/dev", "");
    }
    host_.Write("/proc/net/dev", TestData("net_dev"));
    cgroups_ = *CgroupIndex::Create(host_.Tree(), 8, &next_id_);
    inventory_ = std::make_unique<Inventory>(&files_, cgroups_.get(), &next_id_);
  }
  const std::vector<Entity>& Refresh(Table table) {
    files_.BeginTick();
    inventory_->Refresh();
    return inventory_->entities()[static_cast<size_t>(table)];
  }
  std::vector<std::string> Names(Table table) {
    std::vector<std::string> names;
    for (const Entity& entity : Refresh(table)) names.push_back(entity.name);
    return names;
  }

  FakeHost host_;
  TextFiles files_{host_.proc(), host_.sys()};
  std::uint64_t next_id_ = 1;
  std::unique_ptr<CgroupIndex> cgroups_;
  std::unique_ptr<Inventory> inventory_;
};

constexpr const char* kDisks =
    "   7       0 loop0 0 0 0 0 0 0 0 0 0 0 0\n"
    " 254       0 vda 10 0 80 1 0 0 0 0 0 1 1\n"
    " 254       1 vda1 10 0 80 1 0 0 0 0 0 1 1\n"
    " 253       0 zram0 5 0 40 1 0 0 0 0 0 1 1\n"
    "   8      16 sdb 0 0 0 0 0 0 0 0 0 0 0\n";

TEST_F(InventoryTest, Disks_AreWholeOnesThatAreUsed) {
  host_.Write("/proc/diskstats", kDisks);
  EXPECT_THAT(Names(Table::kDisk), ElementsAre("vda", "zram0", "sdb"));
  const std::vector<Entity>& disks = Refresh(Table::kDisk);
  EXPECT_EQ(disks[0].device, 254U << 20);
  EXPECT_EQ(disks[2].device, 8U << 20 | 16);
  EXPECT_EQ(disks[0].slot, 1);
  EXPECT_EQ(disks[2].slot, 3);
}

TEST_F(InventoryTest, DiskUnplugged_IdIsNotReused_SlotOnlyAfterTwoTicks) {
  host_.Write("/proc/diskstats", " 254 0 vda 1 0 0 0 0 0 0 0 0 0 0\n");
  const Entity vda = Refresh(Table::kDisk)[0];
  host_.Write("/proc/diskstats", "");
  EXPECT_THAT(Refresh(Table::kDisk), IsEmpty());
  host_.Write("/proc/diskstats", " 254 0 vda 1 0 0 0 0 0 0 0 0 0 0\n");
  const Entity again = Refresh(Table::kDisk)[0];
  EXPECT_NE(again.id, vda.id);
  EXPECT_NE(again.slot, vda.slot);
}

TEST_F(InventoryTest, Cpus_FollowWhatIsOnline) {
  EXPECT_THAT(Names(Table::kCpu), ElementsAre("0", "1"));
  const std::uint64_t first = Refresh(Table::kCpu)[0].id;
  host_.Write("/sys/devices/system/cpu/online", "0,3\n");
  const std::vector<Entity>& cpus = Refresh(Table::kCpu);
  ASSERT_EQ(cpus.size(), 2U);
  EXPECT_EQ(cpus[0].id, first);
  EXPECT_EQ(cpus[1].slot, 3);
}

TEST_F(InventoryTest, Netdevs_AreTheLinesOfNetDev) {
  EXPECT_THAT(Names(Table::kNetdev), ElementsAre("lo", "ifb0", "ifb1", "eth0"));
}

TEST_F(InventoryTest, Host_IsOne) { EXPECT_THAT(Names(Table::kHost), ElementsAre("host")); }

}  // namespace
}  // namespace faultline
