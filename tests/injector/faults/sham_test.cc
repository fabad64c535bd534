// SPDX-License-Identifier: Apache-2.0
//
// sham on the fake host: each mechanism leaves the changes of the real fault, and none of its
// effect; what it cannot do is refused, and in which words.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bpf/fault.h"
#include "tests/injector/controller_fixture.h"

namespace faultline {
namespace {

using ::testing::Contains;
using ::testing::Each;
using ::testing::HasSubstr;

// "kind attribute" of each change.
std::vector<std::string> ChangesOf(const v1::Plan& plan) {
  std::vector<std::string> changes;
  for (const v1::Change& change : plan.changes()) {
    changes.push_back(absl::StrCat(change.kind(), " ", change.attribute()));
  }
  return changes;
}

void ExpectRefused(ControllerWorld& world, const v1::FaultSpec& spec, absl::StatusCode code,
                   const std::string& why) {
  const std::string before = world.host.Digest();
  const absl::Status refused = world.controller->Start(spec).status();
  EXPECT_EQ(refused.code(), code) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr(why));
  EXPECT_EQ(world.host.Digest(), before);
}

TEST(Sham, HasTheChangesOfTheRealFault) {
  constexpr std::pair<const char*, const char*> kReal[] = {{"freezer", "process.pause"},
                                                           {"process", "process.kill"},
                                                           {"helper", "mem.leak"},
                                                           {"link", "net.loss"}};
  for (const auto& [mechanism, type] : kReal) {
    ControllerWorld world;
    const auto sham = world.controller->Validate(ControllerWorld::Sham(mechanism, ""));
    const auto real = world.controller->Validate(ControllerWorld::Spec(type, ""));
    ASSERT_TRUE(sham.ok() && real.ok()) << mechanism << sham.status() << real.status();
    EXPECT_EQ(ChangesOf(*sham), ChangesOf(*real)) << mechanism;
  }
}

TEST(Sham, ByPlane_SteersIntoAClassThatLimitsNothing) {
  ControllerWorld world;
  const std::string before = world.host.Digest();
  const size_t classes = world.host.classes.size();
  const auto plan = world.controller->Validate(ControllerWorld::Sham("plane", ""));
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(plan->notes(), Contains(HasSubstr("only packets that leave by eth0 pass the class")));
  ASSERT_TRUE(world.controller->Start(ControllerWorld::Sham("plane", "a")).ok());
  // Beside those of the plane itself.
  ASSERT_EQ(world.host.classes.size(), classes + 1);
  EXPECT_GE(world.host.classes.rbegin()->first, std::uint32_t{FAULT_FIRST_CLASS});
  EXPECT_EQ(world.host.classes.rbegin()->second.bytes_per_second, kUnlimitedRate);
  EXPECT_EQ(world.host.links.size(), 1u);
  // One class per packet.
  ExpectRefused(world, ControllerWorld::Spec("net.rate", "b"),
                absl::StatusCode::kFailedPrecondition, "fault a (sham");
  world.host.classes.rbegin()->second.packets = 7;
  ASSERT_TRUE(world.controller->Stop("a").ok());
  EXPECT_EQ(world.Find("a").dose_size(), 0);
  EXPECT_EQ(world.host.Digest(), before);
}

TEST(Sham, ByProcess_OpensEachAndSendsNothing) {
  ControllerWorld world;
  const size_t count = world.host.processes.all.size();
  const pid_t web = world.host.processes.Add("/web");
  ASSERT_TRUE(world.controller->Start(ControllerWorld::Sham("process", "a")).ok());
  EXPECT_EQ(world.host.processes.all.size(), count + 1);
  EXPECT_THAT(world.host.processes.all[web].signals, ::testing::ElementsAre(0));
  v1::FaultSpec one = ControllerWorld::Sham("process", "b");
  one.mutable_target()->set_pid(web);
  ASSERT_TRUE(world.controller->Start(one).ok());
  EXPECT_THAT(world.host.processes.all[web].signals, ::testing::ElementsAre(0, 0));
  // Of those that may get none at all nothing is asked either.
  world.host.processes.all[web].kept = "it is not to get one";
  one.set_id("c");
  ExpectRefused(world, one, absl::StatusCode::kFailedPrecondition, "it is not to get one");
  for (const auto& [pid, process] : world.host.processes.all) {
    EXPECT_THAT(process.signals, Each(0)) << pid;
  }
}

TEST(Sham, ByFreezer_LetsTheTasksGoOn_AndSeesWhoeverFreezesThem) {
  ControllerWorld world;
  std::string& state = world.host.values["/web freezer.state"];
  const auto started = world.controller->Start(ControllerWorld::Sham("freezer", "a"));
  ASSERT_TRUE(started.ok()) << started.status();
  EXPECT_EQ(started->changes(0).after(), "THAWED");
  world.Pass(kNsPerSecond);
  EXPECT_EQ(world.Find("a").phase(), v1::PHASE_VERIFIED);
  state = "FROZEN";
  world.Pass(kNsPerSecond);
  EXPECT_EQ(world.Find("a").phase(), v1::PHASE_INTERFERED);
  EXPECT_THAT(world.Find("a").reason(), HasSubstr("somebody else froze control group /web"));
  EXPECT_EQ(state, "FROZEN") << "it is not ours";
  ExpectRefused(world, ControllerWorld::Sham("freezer", "b"), absl::StatusCode::kFailedPrecondition,
                "is frozen already");
}

TEST(Sham, ByUnit_SetsThePropertyThatIsThere) {
  ControllerWorld world;
  world.RunUnit(/*with_controller=*/true);
  const std::string before = world.host.Digest();
  v1::FaultSpec spec = world.UnitSpec("sham");
  (*spec.mutable_parameters())["mechanism"] = "unit";
  const auto started = world.controller->Start(spec);
  ASSERT_TRUE(started.ok()) << started.status();
  ASSERT_EQ(started->changes(1).unit().properties_size(), 1);
  const v1::UnitProperty& property = started->changes(1).unit().properties(0);
  EXPECT_EQ(property.name(), "CPUQuotaPerSecUSec");
  EXPECT_EQ(property.before(), property.after());
  // systemd was told: its drop-in is there, until the end.
  EXPECT_NE(world.host.Digest(), before);
  world.host.units.DaemonReload();
  world.Pass(kNsPerSecond);
  EXPECT_EQ(world.Find("a").phase(), v1::PHASE_VERIFIED) << world.Find("a").reason();
  ASSERT_TRUE(world.controller->Stop("a").ok());
  EXPECT_EQ(world.host.Digest(), before);
}

TEST(Sham, WhatItCannot_IsRefused) {
  ControllerWorld world;
  const auto failed = absl::StatusCode::kFailedPrecondition;
  const auto invalid = absl::StatusCode::kInvalidArgument;
  ExpectRefused(world, ControllerWorld::Sham("unit", "f"), failed,
                "systemd keeps no quota of /web: name a unit");
  ExpectRefused(world, ControllerWorld::Sham("disk", "b"), invalid,
                "mechanism is \"disk\"; it must be cgroup or unit or");
  v1::FaultSpec plane = ControllerWorld::Sham("plane", "c");
  (*plane.mutable_parameters())["device"] = "eth9";
  ExpectRefused(world, plane, absl::StatusCode::kNotFound, "no network device eth9");
  plane.set_id("d");
  plane.mutable_parameters()->erase("device");
  ExpectRefused(world, plane, invalid, "needs a network device with the standing plane");
  v1::FaultSpec link = ControllerWorld::Sham("link", "e");
  (*link.mutable_parameters())["device"] = "eth0";
  ExpectRefused(world, link, invalid, "mechanism link has no device of its own");
  world.RunUnit(/*with_controller=*/false);
  ExpectRefused(world, world.UnitSpec("sham"), failed,
                "the cpu controller is off for nginx.service, and the quota that it has");
}

}  // namespace
}  // namespace faultline
