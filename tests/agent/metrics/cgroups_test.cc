// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics/cgroups.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "tests/agent/metrics/fake_host.h"

namespace faultline {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

const std::string kId(64, 'a');

TEST(UnitOf, FindsTheInnermostUnit) {
  struct {
    const char* path;
    const char* unit;
  } const cases[] = {
      {"/", ""},
      {"/web", ""},
      {"/system.slice", "system.slice"},
      {"/system.slice/nginx.service", "nginx.service"},
      {"/system.slice/nginx.service/worker", "nginx.service"},
      {"/user.slice/user-1000.slice/user@1000.service/app.slice/a.scope", "a.scope"},
      {"/system.slice/dev-hugepages.mount", "dev-hugepages.mount"},
      {"/system.slice/_cpu.service", "cpu.service"},
      {"/.service", ""},
      {"/a.services", ""},
  };
  for (const auto& c : cases) EXPECT_EQ(UnitOf(c.path), c.unit) << c.path;
}

TEST(ContainerOf, FindsTheIdsThatRuntimesWrite) {
  const std::vector<std::string> with = {
      "/docker/" + kId,
      "/system.slice/docker-" + kId + ".scope",
      "/kubepods/burstable/pod0123/" + kId,
      "/kubepods.slice/kubepods-burstable.slice/cri-containerd-" + kId + ".scope",
      "/kubepods.slice/crio-" + kId + ".scope",
      "/machine.slice/libpod-" + kId + ".scope/container",
      "/system.slice/containerd.service/kubepods-besteffort-podx.slice:cri-containerd:" + kId,
  };
  for (const std::string& path : with) EXPECT_EQ(ContainerOf(path), kId) << path;
  const std::vector<std::string> without = {
      "/",
      "/docker",
      "/process/0123456789abcdef0123456789abcdef",
      "/x/" + kId + "a",
      "/x/g" + kId,
      "/x/" + std::string(64, 'g'),
      "/machine.slice/libpod-conmon-" + kId + ".scope",
  };
  for (const std::string& path : without) EXPECT_EQ(ContainerOf(path), "") << path;
}

class CgroupIndexTest : public testing::Test {
 protected:
  CgroupIndexTest() {
    host_.MountV1(3, "cpu");
    host_.MountV1(4, "memory");
    host_.MountV2("hugetlb");
  }

  void Create(int max_groups) {
    auto index = CgroupIndex::Create(host_.Tree(), max_groups, &next_id_);
    ASSERT_TRUE(index.ok()) << index.status();
    index_ = *std::move(index);
  }
  void MakeEverywhere(const std::string& path, const std::string& procs = "") {
    for (const char* hierarchy : {"cpu", "memory", "unified"}) {
      host_.MakeGroup(hierarchy, path, procs);
    }
  }
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const Entity& entity : index_->entities()) names.push_back(entity.name);
    return names;
  }
  const Entity* Find(const std::string& name) const {
    for (const Entity& entity : index_->entities()) {
      if (entity.name == name) return &entity;
    }
    return nullptr;
  }
  void Refresh(int times) {
    for (int i = 0; i < times; ++i) index_->Refresh();
  }

  FakeHost host_;
  std::uint64_t next_id_ = 1;
  std::unique_ptr<CgroupIndex> index_;
};

TEST_F(CgroupIndexTest, OneEntityPerPathOverAllHierarchies) {
  MakeEverywhere("/web");
  host_.MakeGroup("memory", "/only-memory/sub");
  Create(64);
  EXPECT_THAT(Names(), ElementsAre("~other", "/", "/only-memory", "/only-memory/sub", "/web"));
  EXPECT_EQ(index_->entities()[0].slot, CGROUP_SLOT_OTHER);
  const Entity* const web = Find("/web");
  ASSERT_NE(web, nullptr);
  const CgroupPlaces* const places = index_->PlacesOf(web->id);
  ASSERT_NE(places, nullptr);
  ASSERT_EQ(places->size(), 3U);
  const char* const hierarchies[] = {"unified", "cpu", "memory"};
  const std::uint32_t ids[] = {0, 3, 4};
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ((*places)[i].hierarchy, ids[i]);
    EXPECT_EQ((*places)[i].id, *CgroupTree::IdOf(host_.mount(hierarchies[i]) + "/web"));
  }
  // 3 for "/", 3 for "/web", 1 for each of the others.
  EXPECT_EQ(index_->keys().size(), 8U);
}

TEST_F(CgroupIndexTest, Refresh_NewGroup_GetsARowAndKeys) {
  Create(64);
  index_->Refresh();
  EXPECT_THAT(index_->keys_added(), IsEmpty());
  MakeEverywhere("/web/worker");
  index_->Refresh();
  EXPECT_THAT(Names(), ElementsAre("~other", "/", "/web", "/web/worker"));
  EXPECT_EQ(index_->keys_added().size(), 6U);
  index_->Refresh();
  EXPECT_THAT(index_->keys_added(), IsEmpty());
}

TEST_F(CgroupIndexTest, Refresh_GroupGone_IsReadOnceMoreThenRetired) {
  MakeEverywhere("/web");
  Create(64);
  const Entity web = *Find("/web");
  for (const char* hierarchy : {"cpu", "memory", "unified"}) host_.RemoveGroup(hierarchy, "/web");
  index_->Refresh();
  EXPECT_THAT(Names(), ElementsAre("~other", "/", "/web"));
  EXPECT_EQ(index_->PlacesOf(web.id), nullptr);
  ASSERT_EQ(index_->keys_removed().size(), 3U);
  EXPECT_EQ(index_->keys_removed()[0].slot, web.slot);
  EXPECT_THAT(index_->slots_retired(), IsEmpty());
  index_->Refresh();
  EXPECT_THAT(Names(), ElementsAre("~other", "/"));
  EXPECT_THAT(index_->slots_retired(), ElementsAre(web.slot));
  EXPECT_THAT(index_->keys_removed(), IsEmpty());
}

TEST_F(CgroupIndexTest, Refresh_GroupMadeAgain_IsAnotherEntity_NeverTwiceInATick) {
  host_.MakeGroup("cpu", "/web");
  Create(64);
  const std::uint64_t before = Find("/web")->id;
  host_.ReplaceGroup("cpu", "/web");
  index_->Refresh();
  EXPECT_EQ(Find("/web")->id, before);
  EXPECT_EQ(Names().size(), 3U);
  index_->Refresh();
  ASSERT_NE(Find("/web"), nullptr);
  EXPECT_NE(Find("/web")->id, before);
  EXPECT_EQ(Names().size(), 3U);
  EXPECT_EQ(index_->keys_added().size(), 1U);
}

TEST_F(CgroupIndexTest, Refresh_GroupAppearsInAnotherHierarchy_KeepsItsEntity) {
  host_.MakeGroup("cpu", "/web");
  Create(64);
  const std::uint64_t id = Find("/web")->id;
  host_.MakeGroup("memory", "/web");
  index_->Refresh();
  EXPECT_EQ(Find("/web")->id, id);
  ASSERT_EQ(index_->keys_added().size(), 1U);
  EXPECT_EQ(index_->keys_added()[0].key.hierarchy, 4U);
  EXPECT_EQ(index_->PlacesOf(id)->size(), 2U);
}

TEST_F(CgroupIndexTest, Create_MoreGroupsThanRows_PrefersThoseWithProcesses) {
  for (const char* path : {"/a", "/b", "/c"}) host_.MakeGroup("cpu", path);
  host_.MakeGroup("cpu", "/z", "42\n");
  Create(3);
  EXPECT_THAT(Names(), ElementsAre("~other", "/", "/z", "/a"));
  EXPECT_THAT(index_->TakeNewlyFolded(), ElementsAre("/b", "/c"));
  EXPECT_THAT(index_->TakeNewlyFolded(), IsEmpty());
  EXPECT_EQ(index_->folded(), 2U);
}

TEST_F(CgroupIndexTest, Refresh_NoRowFree_NewGroupTakesThatOfTheOldestEmptyOne) {
  host_.MakeGroup("cpu", "/busy", "42\n");
  host_.MakeGroup("cpu", "/idle1");
  host_.MakeGroup("cpu", "/idle2");
  Create(4);
  Refresh(10);
  const int slot = Find("/idle1")->slot;
  host_.MakeGroup("cpu", "/new");
  index_->Refresh();
  EXPECT_NE(Find("/new"), nullptr);
  EXPECT_NE(Find("/new")->slot, slot);
  EXPECT_THAT(index_->TakeNewlyFolded(), ElementsAre("/idle1"));
  index_->Refresh();
  EXPECT_THAT(Names(), ElementsAre("~other", "/", "/busy", "/idle2", "/new"));
}

TEST_F(CgroupIndexTest, Refresh_AllRowsBusy_NewGroupIsFolded_AndPromotedWhenARowIsFree) {
  host_.MakeGroup("cpu", "/a", "1\n");
  host_.MakeGroup("cpu", "/b", "2\n");
  Create(3);
  Refresh(10);
  host_.MakeGroup("cpu", "/new", "3\n");
  index_->Refresh();
  EXPECT_EQ(Find("/new"), nullptr);
  EXPECT_EQ(index_->folded(), 1U);
  host_.RemoveGroup("cpu", "/a");
  Refresh(2);
  EXPECT_NE(Find("/new"), nullptr);
  EXPECT_EQ(index_->folded(), 0U);
}

TEST_F(CgroupIndexTest, Refresh_FoldedGroupGone_IsForgotten) {
  host_.MakeGroup("cpu", "/a", "1\n");
  host_.MakeGroup("cpu", "/b");
  Create(2);
  EXPECT_EQ(index_->folded(), 1U);
  host_.RemoveGroup("cpu", "/b");
  index_->Refresh();
  EXPECT_EQ(index_->folded(), 0U);
}

// Over many generations: ids are new every time, two rows never share a slot.
TEST_F(CgroupIndexTest, Refresh_ManyGenerations_IdsAreNeverReused) {
  Create(CGROUP_SLOTS - 1);
  std::set<std::uint64_t> ids;
  for (int generation = 0; generation < 300; ++generation) {
    const std::string path = absl::StrCat("/g", generation);
    host_.MakeGroup("cpu", path);
    index_->Refresh();
    ASSERT_NE(Find(path), nullptr);
    EXPECT_TRUE(ids.insert(Find(path)->id).second);
    std::set<int> slots;
    for (const Entity& entity : index_->entities()) {
      EXPECT_TRUE(slots.insert(entity.slot).second) << entity.name;
    }
    host_.RemoveGroup("cpu", path);
    index_->Refresh();
  }
  EXPECT_LE(index_->entities().size(), 4U);
}

TEST_F(CgroupIndexTest, Create_BadBound_IsRefused) {
  for (const int bad : {0, -1, CGROUP_SLOTS}) {
    EXPECT_TRUE(absl::IsInvalidArgument(CgroupIndex::Create(host_.Tree(), bad, &next_id_).status()))
        << bad;
  }
}

}  // namespace
}  // namespace faultline
