// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics/io_groups.h"

#include <gtest/gtest.h>

#include "tests/agent/metrics/fake_host.h"

namespace faultline {
namespace {

Entity Group(std::uint64_t id, const std::string& name) {
  Entity group;
  group.id = id;
  group.name = name;
  group.slot = static_cast<int>(id);
  return group;
}

TEST(IoGroups, V2_AGroupWithoutTheIoController_HasNoIoOfItsOwn) {
  FakeHost host;
  host.MountV2("cpu io memory");
  host.MakeGroup("unified", "/with");
  host.WriteGroup("unified", "/with", "io.stat", "");
  host.MakeGroup("unified", "/without");
  const CgroupTree tree = host.Tree();
  IoGroups groups(tree);
  EXPECT_TRUE(groups.Owns(Group(1, "/")));
  EXPECT_TRUE(groups.Owns(Group(2, "/with")));
  EXPECT_FALSE(groups.Owns(Group(3, "/without")));
}

TEST(IoGroups, V2_AControllerThatIsSwitchedOn_IsSeenWithinTenTicks) {
  FakeHost host;
  host.MountV2("io");
  host.MakeGroup("unified", "/web");
  const CgroupTree tree = host.Tree();
  IoGroups groups(tree);
  EXPECT_FALSE(groups.Owns(Group(2, "/web")));
  host.WriteGroup("unified", "/web", "io.stat", "");
  for (int tick = 0; tick < 10; ++tick) groups.BeginTick();
  EXPECT_TRUE(groups.Owns(Group(2, "/web")));
}

TEST(IoGroups, V1_EveryGroupHasIoOfItsOwn) {
  FakeHost host;
  host.MountV1(3, "blkio");
  host.MountV2("");
  host.MakeGroup("blkio", "/web");
  const CgroupTree tree = host.Tree();
  IoGroups groups(tree);
  EXPECT_TRUE(groups.Owns(Group(2, "/web")));
}

}  // namespace
}  // namespace faultline
