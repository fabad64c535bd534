// SPDX-License-Identifier: Apache-2.0
//
// What is held for a run: it lives and is undone like a fault, is none, and ends after everything
// that stands on it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "injector/host/unit_quota.h"
#include "proto/words.h"
#include "tests/fault_edges.h"
#include "tests/injector/controller_fixture.h"

namespace faultline {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

constexpr char kRootCpu[] = "/ has on cpu";
constexpr char kWebCpu[] = "/web has on cpu";
constexpr char kSliceCpu[] = "/system.slice has on cpu";
constexpr char kWeightFile[] = "/run/systemd/system.control/nginx.service.d/50-CPUWeight.conf";
constexpr char kWeight[] = "/system.slice/nginx.service cpu:cpu.weight";

v1::FaultSpec Hold(const std::string& id, const std::string& cgroup = "/web") {
  v1::FaultSpec spec = ControllerWorld::Spec("hold.controllers", id, cgroup);
  spec.set_duration_ns(24 * 3600 * kNsPerSecond);
  return spec;
}

v1::FaultSpec UnitHold(const std::string& id) {
  v1::FaultSpec spec = Hold(id);
  spec.mutable_target()->set_unit(FakeUnits::kUnit);
  return spec;
}

// A host with cgroup v2 and without systemd.
class V2World : public ControllerWorld {
 public:
  V2World() {
    host.cpu_version = "v2";
    for (const char* group : {"/web", "/web/worker"}) {
      host.values[absl::StrCat(group, " cpu:cpu.max")] = "max 100000";
    }
  }
};

TEST(Hold, OnV1_ChangesNothingAndSaysSo) {
  ControllerWorld world;
  const std::string before = world.host.Digest();
  const auto plan = world.controller->Validate(Hold("h"));
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_EQ(plan->changes_size(), 0);
  EXPECT_THAT(plan->notes(), Contains(HasSubstr("nothing to hold")));
  const auto held = world.controller->Start(Hold("h"));
  ASSERT_TRUE(held.ok()) << held.status();
  EXPECT_EQ(held->phase(), v1::PHASE_VERIFIED);
  EXPECT_EQ(world.host.Digest(), before);
  world.Pass(3600 * kNsPerSecond);
  EXPECT_EQ(world.Find("h").phase(), v1::PHASE_VERIFIED);
  const auto ended = world.controller->Stop("h");
  ASSERT_TRUE(ended.ok());
  EXPECT_EQ(ended->phase(), v1::PHASE_UNDONE);
  EXPECT_TRUE(ended->dose_complete());
  ExpectEdgesInOrder(*ended);
}

TEST(Hold, IsMarkedAndNeverCountsAsAFault) {
  ControllerWorld world;
  world.guard.max_faults = 1;
  world.Boot();
  for (const char* id : {"h1", "h2", "h3"}) {
    const auto held = world.controller->Start(Hold(id));
    ASSERT_TRUE(held.ok()) << held.status();
    EXPECT_TRUE(held->hold());
    EXPECT_TRUE(held->sham());
  }
  ASSERT_TRUE(world.controller->Start(world.Spec("cpu.limit", "a")).ok());
  EXPECT_FALSE(world.Find("a").hold());
  const auto more = world.controller->Start(world.Spec("mem.leak", "b"));
  EXPECT_THAT(std::string(more.status().message()), HasSubstr("allows 1 faults at a time, and 1"));
  int marked = 0;
  const v1::Capabilities can = world.controller->GetCapabilities();
  for (const v1::FaultInfo& info : can.faults()) marked += info.hold() ? 1 : 0;
  EXPECT_EQ(marked, 1);
}

TEST(Hold, MayOutlastAFault_ButNot7Days) {
  ControllerWorld world;
  v1::FaultSpec spec = Hold("h");
  spec.set_duration_ns(kMaxHoldNs + 1);
  const auto refused = world.controller->Start(spec);
  EXPECT_TRUE(absl::IsInvalidArgument(refused.status()));
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("at most 168h"));
  spec.set_id("i");
  spec.set_duration_ns(kMaxHoldNs);
  EXPECT_TRUE(world.controller->Start(spec).ok());
}

TEST(Hold, TurnsOnWhatIsOffFromTheTop_AndOnlyThatOffAgain) {
  V2World world;
  world.host.values["/ has on memory"] = "1";
  for (const char* group : {"/", "/web"}) {
    world.host.values[absl::StrCat(group, " has on io")] = "1";
  }
  const std::string before = world.host.Digest();
  const auto held = world.controller->Start(Hold("h", "/web/worker"));
  ASSERT_TRUE(held.ok()) << held.status();
  EXPECT_EQ(world.host.values.count(kRootCpu), 1u);
  EXPECT_EQ(world.host.values.count(kWebCpu), 1u);
  EXPECT_EQ(world.host.values.count("/web has on memory"), 1u);
  // The last only reads that io is on.
  ASSERT_EQ(held->changes_size(), 4);
  EXPECT_EQ(held->changes(0).object(), "/web");
  EXPECT_EQ(held->changes(1).object(), "/web/worker");
  world.Pass(25 * 3600 * kNsPerSecond);
  EXPECT_EQ(world.Find("h").phase(), v1::PHASE_UNDONE);
  EXPECT_EQ(world.host.Digest(), before);
}

TEST(Hold, WhereAllIsOn_ReadsOnly_AndSeesWhoTurnsItOff) {
  V2World world;
  world.host.values[kRootCpu] = "1";
  world.host.values["/ has on memory"] = "1";
  world.host.values["/ has on io"] = "1";
  const std::string before = world.host.Digest();
  const auto held = world.controller->Start(Hold("h"));
  ASSERT_TRUE(held.ok()) << held.status();
  EXPECT_EQ(world.host.Digest(), before);
  world.Pass(kNsPerSecond);
  world.host.values.erase(kRootCpu);
  world.Pass(kNsPerSecond);
  const v1::FaultState ended = world.Find("h");
  EXPECT_EQ(ended.phase(), v1::PHASE_INTERFERED);
  EXPECT_THAT(ended.reason(), HasSubstr("the cpu controller was turned off for /web"));
  EXPECT_EQ(world.host.values.count(kRootCpu), 0u);
}

TEST(Hold, WhatTheKernelDoesNotGiveBack_StaysAndIsSaid) {
  V2World world;
  ASSERT_TRUE(world.controller->Start(Hold("h")).ok());
  // A program beside uses it by now.
  world.host.values["/db has on cpu"] = "1";
  const auto ended = world.controller->Stop("h");
  ASSERT_TRUE(ended.ok());
  EXPECT_EQ(ended->phase(), v1::PHASE_INTERFERED);
  ASSERT_EQ(ended->residue_size(), 1);
  EXPECT_THAT(ended->residue(0), HasSubstr("the cpu controller stays on in /"));
  EXPECT_EQ(world.host.values.count(kRootCpu), 1u);
}

TEST(Hold, StaysWhileItsTargetEndsAndComesBack) {
  V2World world;
  ASSERT_TRUE(world.controller->Start(Hold("h", "/web/worker")).ok());
  world.host.Remake("/web/worker");
  world.Pass(kNsPerSecond);
  EXPECT_EQ(world.Find("h").phase(), v1::PHASE_VERIFIED);
  // What held the target goes, and its file with it.
  world.host.subtrees.removed.insert("/web");
  world.host.values.erase(kWebCpu);
  world.host.values.erase("/web has on memory");
  world.Pass(kNsPerSecond);
  const v1::FaultState ended = world.Find("h");
  EXPECT_EQ(ended.phase(), v1::PHASE_INTERFERED);
  EXPECT_THAT(ended.reason(), HasSubstr("the target ended"));
}

TEST(Hold, EndsAfterTheFaultsOnIt) {
  V2World world;
  const std::string before = world.host.Digest();
  ASSERT_TRUE(world.controller->Start(Hold("h")).ok());
  const auto fault = world.controller->Start(world.Spec("cpu.limit", "a"));
  ASSERT_TRUE(fault.ok()) << fault.status();
  const auto waits = world.controller->Stop("h");
  ASSERT_TRUE(waits.ok());
  EXPECT_EQ(waits->phase(), v1::PHASE_UNDOING);
  ASSERT_EQ(waits->residue_size(), 1);
  EXPECT_THAT(waits->residue(0), HasSubstr("it ends after fault a (cpu.limit on /web)"));
  world.Pass(5 * kNsPerSecond);
  EXPECT_EQ(world.host.values.count(kRootCpu), 1u);
  EXPECT_EQ(world.Find("a").phase(), v1::PHASE_VERIFIED);
  world.Pass(7 * kNsPerSecond);
  EXPECT_EQ(world.Find("a").phase(), v1::PHASE_UNDONE);
  EXPECT_EQ(world.Find("h").phase(), v1::PHASE_UNDONE);
  EXPECT_EQ(world.Find("h").residue_size(), 0);
  EXPECT_EQ(world.host.Digest(), before);
}

TEST(Hold, EndsAfterAnotherThatFoundItsWork) {
  V2World world;
  const std::string before = world.host.Digest();
  ASSERT_TRUE(world.controller->Start(Hold("h1")).ok());
  world.Pass(kNsPerSecond);
  ASSERT_TRUE(world.controller->Start(Hold("h2")).ok());
  const auto first = world.controller->Stop("h1");
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(first->phase(), v1::PHASE_UNDOING);
  EXPECT_EQ(world.host.values.count(kRootCpu), 1u);
  const auto second = world.controller->Stop("h2");
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(second->phase(), v1::PHASE_UNDONE);
  world.Pass(2 * kNsPerSecond);
  EXPECT_EQ(world.Find("h1").phase(), v1::PHASE_UNDONE);
  EXPECT_EQ(world.host.Digest(), before);
}

TEST(Hold, DoesNotBeginUnderAFault) {
  V2World world;
  ASSERT_TRUE(world.controller->Start(world.Spec("cpu.limit", "a")).ok());
  const auto refused = world.controller->Start(Hold("h"));
  EXPECT_TRUE(absl::IsFailedPrecondition(refused.status()));
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("fault a (cpu.limit"));
}

TEST(Hold, EndsWithAHaltAndWithTheProgram_FaultsFirst) {
  for (const bool halt : {true, false}) {
    V2World world;
    const std::string before = world.host.Digest();
    ASSERT_TRUE(world.controller->Start(Hold("h")).ok());
    ASSERT_TRUE(world.controller->Start(world.Spec("cpu.limit", "a")).ok());
    if (halt) {
      ASSERT_TRUE(world.controller->Halt("test").ok());
    } else {
      EXPECT_TRUE(world.controller->EndAll("the program ends"));
    }
    EXPECT_EQ(world.host.Digest(), before);
    EXPECT_EQ(world.controller->List(true).faults_size(), 0);
  }
}

TEST(Hold, OfAUnit_IsAWeightThatItHasAnyway_AndLeavesNothing) {
  for (const bool on : {false, true}) {
    ControllerWorld world;
    world.RunUnit(on);
    const std::string before = world.host.Digest();
    const auto held = world.controller->Start(UnitHold("h"));
    ASSERT_TRUE(held.ok()) << held.status();
    EXPECT_EQ(world.host.values.count(kSliceCpu), 1u);
    EXPECT_EQ(world.host.values[kWeight], "100");
    EXPECT_THAT(world.host.units.files[kWeightFile], HasSubstr("CPUWeight=100\n"));
    // Memory is on for it and asked for by it: only read.
    EXPECT_EQ(world.host.units.files.size(), 1u);
    world.host.units.DaemonReload();
    world.Pass(kNsPerSecond);
    EXPECT_EQ(world.Find("h").phase(), v1::PHASE_VERIFIED);

    // A fault in between turns nothing on or off.
    const auto values = world.host.values;
    ASSERT_TRUE(world.controller->Start(world.UnitSpec("cpu.limit")).ok());
    world.Pass(20 * kNsPerSecond);
    EXPECT_EQ(world.Find("a").phase(), v1::PHASE_UNDONE);
    EXPECT_EQ(world.host.values, values);

    const auto ended = world.controller->Stop("h");
    ASSERT_TRUE(ended.ok());
    EXPECT_EQ(ended->phase(), v1::PHASE_UNDONE) << ended->ShortDebugString();
    EXPECT_EQ(ended->residue_size(), 0);
    EXPECT_EQ(world.host.Digest(), before);
    world.host.units.DaemonReload();
    EXPECT_EQ(world.host.Digest(), before);
  }
}

TEST(Hold, OfAUnitThatCountsNeitherMemoryNorIo_TurnsThemOnToo) {
  ControllerWorld world;
  world.host.units.accounts = false;
  world.RunUnit(true);
  const std::string before = world.host.Digest();
  ASSERT_TRUE(world.controller->Start(UnitHold("h")).ok());
  EXPECT_EQ(world.host.values.count("/system.slice has on memory"), 1u);
  EXPECT_EQ(world.host.values.count("/system.slice has on io"), 1u);
  EXPECT_EQ(world.host.units.files.size(), 3u);
  ASSERT_TRUE(world.controller->Stop("h").ok());
  EXPECT_EQ(world.host.Digest(), before);
}

TEST(Hold, OfAUnitThatAsksItself_ReadsOnly) {
  ControllerWorld world;
  world.RunUnit(false);
  world.host.units.SetProperty(FakeUnits::kRuntime, 770'000);
  const std::string before = world.host.Digest();
  ASSERT_TRUE(world.controller->Start(UnitHold("h")).ok());
  EXPECT_EQ(world.host.Digest(), before);
  ASSERT_TRUE(world.controller->Stop("h").ok());
  EXPECT_EQ(world.host.Digest(), before);
}

TEST(Hold, OfAUnit_OutlivesItsRestart_AndSeesWhoTakesItAway) {
  ControllerWorld world;
  world.RunUnit(false);
  ASSERT_TRUE(world.controller->Start(UnitHold("h")).ok());
  world.host.units.Stop();
  world.Pass(kNsPerSecond);
  world.host.units.Start(false);
  world.Pass(kNsPerSecond);
  EXPECT_EQ(world.Find("h").phase(), v1::PHASE_VERIFIED);
  world.host.units.DropWeight();
  world.Pass(kNsPerSecond);
  EXPECT_EQ(world.Find("h").phase(), v1::PHASE_INTERFERED);
  // Nor does anything of it come back with a reload.
  world.host.units.DaemonReload();
  EXPECT_EQ(world.host.values.count(kSliceCpu), 0u);
}

TEST(Hold, WeightThatSomebodyWrotePastSystemd_IsRefused) {
  ControllerWorld world;
  world.RunUnit(true);
  world.host.values[kWeight] = "200";
  const auto refused = world.controller->Start(UnitHold("h"));
  EXPECT_TRUE(absl::IsFailedPrecondition(refused.status())) << refused.status();
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("cpu.weight of"));
}

TEST(Hold, BelowAUnit_IsSystemdsDownToItAndOursFromThere) {
  ControllerWorld world;
  world.RunUnit(false);
  const std::string group = absl::StrCat(FakeUnits::kGroup, "/pod");
  world.host.AddGroup(group);
  const std::string before = world.host.Digest();
  const auto held = world.controller->Start(Hold("h", group));
  ASSERT_TRUE(held.ok()) << held.status();
  ASSERT_GE(held->changes_size(), 2);
  EXPECT_EQ(held->changes(0).unit().unit(), FakeUnits::kUnit);
  EXPECT_EQ(held->changes(1).object(), group);
  EXPECT_EQ(world.host.values.count(absl::StrCat(FakeUnits::kGroup, " has on cpu")), 1u);
  ASSERT_TRUE(world.controller->Stop("h").ok());
  EXPECT_EQ(world.host.Digest(), before);
}

// Every step of its life, one crash each, with a fault on it or without.
TEST(Hold, CrashAtEveryStep_IsUndoneByTheNextProcess) {
  for (const bool unit : {false, true}) {
    for (const bool fault : {false, true}) {
      bool reached = true;
      for (int step = 0; reached; step += kNextStep) {
        V2World world;
        if (unit) world.RunUnit(false);
        const std::string before = world.host.Digest();
        world.DieAtStep(step);
        [[maybe_unused]] const auto held =
            world.controller->Start(unit ? UnitHold("h") : Hold("h"));
        if (!world.dead() && fault) {
          [[maybe_unused]] const auto started = world.controller->Start(
              unit ? world.UnitSpec("cpu.limit") : world.Spec("cpu.limit", "a"));
        }
        if (!world.dead()) world.Pass(kNsPerSecond);
        if (!world.dead()) [[maybe_unused]]
          const auto stopped = world.controller->Stop("h");
        if (!world.dead()) world.Pass(20 * kNsPerSecond);
        reached = world.dead();
        world.Crash();
        world.Boot();
        ASSERT_EQ(world.host.Digest(), before) << "unit " << unit << " died at step " << step;
        ASSERT_EQ(world.controller->List(true).faults_size(), 0);
      }
    }
  }
}

TEST(Hold, AfterAReboot_IsClosedWithoutADose) {
  V2World world;
  ASSERT_TRUE(world.controller->Start(Hold("h")).ok());
  world.Crash();
  world.boot_id = "another-boot";
  world.Boot();
  const v1::FaultState ended = world.Find("h");
  EXPECT_EQ(ended.phase(), v1::PHASE_UNDONE);
  EXPECT_EQ(ended.reason(), "reboot");
}

}  // namespace
}  // namespace faultline
