// SPDX-License-Identifier: Apache-2.0
//
// Faults on a unit of systemd: changed through it, read back from the control group, and taken back
// so that neither the unit nor the folders of its drop-ins show that they ever were.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "injector/host/units.h"
#include "proto/words.h"
#include "tests/fault_edges.h"
#include "tests/injector/controller_fixture.h"

namespace faultline {
namespace {

using ::testing::HasSubstr;

constexpr char kMax[] = "/system.slice/nginx.service cpu:cpu.max";
constexpr char kAdmin[] = "/etc/systemd/system/nginx.service.d/admin.conf";

// What may be there before the fault.
enum class Before : std::uint8_t { kNothing, kNoController, kRuntime, kPersistent, kAdmins };
constexpr Before kBefores[] = {Before::kNothing, Before::kNoController, Before::kRuntime,
                               Before::kPersistent, Before::kAdmins};

class World : public ControllerWorld {
 public:
  explicit World(Before before) {
    if (before == Before::kAdmins) host.units.files[kAdmin] = "[Service]\nCPUQuota=77%\n";
    RunUnit(before != Before::kNoController);
    if (before == Before::kRuntime) host.units.SetProperty(FakeUnits::kRuntime, 770'000);
    if (before == Before::kPersistent) host.units.SetProperty(FakeUnits::kPersistent, 770'000);
    host.units.lag = 3;
    digest_ = host.Digest();
  }

  // That nothing shows that there was a fault, also after systemd has read everything again.
  void ExpectAsBefore() {
    EXPECT_EQ(host.Digest(), digest_);
    host.units.DaemonReload();
    EXPECT_EQ(host.Digest(), digest_);
  }

 private:
  std::string digest_;
};

TEST(UnitValue, GoesThroughSystemd_AndLeavesNothing) {
  for (const Before before : kBefores) {
    World world(before);
    ASSERT_TRUE(world.controller->Start(world.UnitSpec("cpu.limit")).ok());
    EXPECT_EQ(world.host.values[kMax], "50000 100000");
    EXPECT_THAT(world.host.units.files[FakeUnits::kRuntime], HasSubstr("CPUQuota=50%\n"));
    const auto ended = world.controller->Stop("a");
    ASSERT_TRUE(ended.ok());
    EXPECT_EQ(ended->phase(), v1::PHASE_UNDONE) << ended->ShortDebugString();
    EXPECT_EQ(ended->residue_size(), 0);
    ExpectEdgesInOrder(*ended);
    world.ExpectAsBefore();
  }
}

TEST(UnitValue, WithoutItsController_SaysWhatElseChanges) {
  World world(Before::kNoController);
  const auto plan = world.controller->Validate(world.UnitSpec("cpu.limit"));
  ASSERT_TRUE(plan.ok());
  EXPECT_THAT(plan->notes(),
              ::testing::Contains(HasSubstr("the cpu controller is off for nginx.service")));
}

TEST(UnitValue, OfAnotherPeriod_SetsBoth) {
  World world(Before::kRuntime);
  v1::FaultSpec spec = world.UnitSpec("cpu.limit");
  (*spec.mutable_parameters())["period"] = "12500us";
  const auto started = world.controller->Start(spec);
  ASSERT_TRUE(started.ok()) << started.status();
  EXPECT_EQ(world.host.values[kMax], "6250 12500");
  // No program looks, as the limit of before throttles as well.
  ASSERT_EQ(started->changes_size(), 1);
  ASSERT_EQ(started->changes(0).unit().properties_size(), 2);
  world.Pass(20 * kNsPerSecond);
  EXPECT_EQ(world.Find("a").phase(), v1::PHASE_UNDONE);
  world.ExpectAsBefore();
}

TEST(UnitValue, DaemonReload_KeepsWholePercents) {
  World world(Before::kNothing);
  ASSERT_TRUE(world.controller->Start(world.UnitSpec("cpu.limit")).ok());
  world.host.units.DaemonReload();
  world.Pass(kNsPerSecond);
  EXPECT_EQ(world.Find("a").phase(), v1::PHASE_VERIFIED);
  EXPECT_EQ(world.host.values[kMax], "50000 100000");
  world.Pass(20 * kNsPerSecond);
  EXPECT_EQ(world.Find("a").phase(), v1::PHASE_UNDONE);
  world.ExpectAsBefore();
}

// systemd's drop-in says 25 %.
TEST(UnitValue, DaemonReload_EndsAFractionAsInterfered_AndThePlanSaysSo) {
  for (const Before before : kBefores) {
    World world(before);
    const v1::FaultSpec spec = world.UnitSpec("cpu.limit", "0.255");
    const auto plan = world.controller->Validate(spec);
    ASSERT_TRUE(plan.ok());
    EXPECT_THAT(plan->notes(), ::testing::Contains(HasSubstr("would leave nginx.service 25%")));
    ASSERT_TRUE(world.controller->Start(spec).ok());
    EXPECT_EQ(world.host.values[kMax], "25500 100000");
    world.host.units.DaemonReload();
    world.Pass(kNsPerSecond);
    EXPECT_EQ(world.Find("a").phase(), v1::PHASE_INTERFERED);
    world.ExpectAsBefore();
  }
}

// A drop-in of root's whose name comes after ours wins the next reload.
TEST(UnitValue, LostToRootsDropIn_IsInterfered) {
  World world(Before::kAdmins);
  ASSERT_TRUE(world.controller->Start(world.UnitSpec("cpu.limit")).ok());
  world.host.units.DaemonReload();
  EXPECT_EQ(world.host.values[kMax], "77000 100000");
  world.Pass(kNsPerSecond);
  EXPECT_EQ(world.Find("a").phase(), v1::PHASE_INTERFERED);
  world.ExpectAsBefore();
}

TEST(UnitValue, SetBySomebodyElse_IsInterfered_AndStaysTheirs) {
  for (const char* path : {FakeUnits::kRuntime, FakeUnits::kPersistent}) {
    for (const Before before : {Before::kNothing, Before::kAdmins}) {
      World world(before);
      ASSERT_TRUE(world.controller->Start(world.UnitSpec("cpu.limit")).ok());
      world.host.units.SetProperty(path, 600'000);
      world.Pass(kNsPerSecond);
      const v1::FaultState ended = world.Find("a");
      EXPECT_EQ(ended.phase(), v1::PHASE_INTERFERED);
      EXPECT_EQ(ended.verdict(), v1::VERDICT_INTERFERED);
      EXPECT_EQ(world.host.values[kMax], "60000 100000");
      EXPECT_THAT(world.host.units.files[path], HasSubstr("CPUQuota=60%\n"));
      // Ours would come back when theirs goes.
      if (path != FakeUnits::kRuntime) {
        EXPECT_EQ(world.host.units.files.count(FakeUnits::kRuntime), 0u);
      }
    }
  }
}

TEST(UnitValue, WrittenPastSystemd_IsInterfered_AndStaysTheirs) {
  // Systemd is done within one attempt to undo, or after several.
  for (const int lag : {3, 20}) {
    World world(Before::kNothing);
    ASSERT_TRUE(world.controller->Start(world.UnitSpec("cpu.limit")).ok());
    world.host.units.lag = lag;
    world.host.values[kMax] = "12345 100000";
    world.Pass(kNsPerSecond);
    EXPECT_EQ(world.Find("a").phase(), v1::PHASE_INTERFERED);
    EXPECT_EQ(world.host.values[kMax], "12345 100000");
    world.host.units.DaemonReload();
    world.ExpectAsBefore();
  }
}

TEST(UnitValue, OfAUnitThatSomebodyWrotePast_IsRefused) {
  World world(Before::kNothing);
  world.host.values[kMax] = "12345 100000";
  const auto refused = world.controller->Start(world.UnitSpec("cpu.limit", "0.05"));
  EXPECT_TRUE(absl::IsFailedPrecondition(refused.status()));
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr("cpu.max of /system.slice/nginx.service is 12345 100000, but systemd would "
                        "make it max 100000"));
}

// Whichever way it is named: systemd would revert a write of ours.
TEST(UnitValue, OfItsControlGroup_GoesThroughSystemdToo) {
  World world(Before::kNothing);
  v1::FaultSpec spec = world.UnitSpec("cpu.limit");
  spec.mutable_target()->set_cgroup(FakeUnits::kGroup);
  ASSERT_TRUE(world.controller->Start(spec).ok());
  EXPECT_EQ(world.host.units.files.count(FakeUnits::kRuntime), 1u);
  ASSERT_TRUE(world.controller->Stop("a").ok());
  world.ExpectAsBefore();
}

TEST(UnitValue, SystemdThatDoesNotAnswer_EndsItAtTheDeadlineAllTheSame) {
  World world(Before::kRuntime);
  ASSERT_TRUE(world.controller->Start(world.UnitSpec("cpu.limit")).ok());
  world.host.on_step = [](const std::string& step) {
    const bool asks = step == "get" || step == "set";
    return asks ? absl::UnavailableError("systemd does not answer") : absl::OkStatus();
  };
  world.Pass(15 * kNsPerSecond);
  EXPECT_EQ(world.host.values[kMax], "77000 100000");
  EXPECT_EQ(world.Find("a").phase(), v1::PHASE_UNDOING);
  world.host.on_step = nullptr;
  world.Pass(2 * kNsPerSecond);
  EXPECT_EQ(world.Find("a").phase(), v1::PHASE_UNDONE);
  world.ExpectAsBefore();
}

TEST(UnitValue, RestartOfTheUnit_InterferesWithEveryFault) {
  for (const char* type : {"cpu.limit", "process.pause", "mem.leak", "net.loss", "sham"}) {
    for (const int way : {0, 1, 2}) {
      const bool seen_gone = way > 0;
      World world(Before::kNothing);
      world.host.units.collects = way == 2;
      ASSERT_TRUE(world.controller->Start(world.UnitSpec(type)).ok()) << type;
      world.host.units.Stop();
      if (seen_gone) {
        world.Pass(kNsPerSecond);
        EXPECT_EQ(world.host.values.count(kMax), 0u) << type;
      }
      world.host.Remake(FakeUnits::kGroup);
      world.host.units.Start(true);
      world.Pass(kNsPerSecond);
      const v1::FaultState ended = world.Find("a");
      EXPECT_EQ(ended.phase(), v1::PHASE_INTERFERED) << type << ended.ShortDebugString();
      EXPECT_THAT(ended.reason(), HasSubstr("unit nginx.service was stopped or restarted: "));
      ExpectEdgesInOrder(ended);
      world.ExpectAsBefore();
    }
  }
}

TEST(UnitValue, UnitThatDoesNotRun_IsRefused) {
  ControllerWorld world;
  const auto refused = world.controller->Start(world.UnitSpec("cpu.limit"));
  EXPECT_TRUE(absl::IsNotFound(refused.status())) << refused.status();
}

// Every step of a fault's life on a unit, one crash each, from everything that may have been there.
TEST(UnitValue, CrashAtEveryStep_IsUndoneByTheNextProcess) {
  for (const Before before : kBefores) {
    for (const char* type : {"cpu.limit", "sham"}) {
      bool reached = true;
      for (int step = 0; reached; step += kNextStep) {
        World world(before);
        v1::FaultSpec spec = world.UnitSpec(type, "0.255");
        if (type == std::string("sham")) (*spec.mutable_parameters())["mechanism"] = "unit";
        if (type == std::string("cpu.limit")) (*spec.mutable_parameters())["period"] = "50ms";
        world.DieAtStep(step);
        [[maybe_unused]] const auto started = world.controller->Start(spec);
        if (!world.dead()) world.Pass(2 * kNsPerSecond);
        if (!world.dead()) [[maybe_unused]]
          const auto stopped = world.controller->Stop("a");
        reached = world.dead();
        world.Crash();
        // The next one finds what systemd made of its drop-ins meanwhile.
        if (step % 2 == 1) world.host.units.DaemonReload();
        world.Boot();
        ASSERT_EQ(world.controller->List(true).faults_size(), 0);
        world.ExpectAsBefore();
        ASSERT_FALSE(::testing::Test::HasFailure()) << type << " died at step " << step;
      }
    }
  }
}

// The next process dies on its way, too; the unit was stopped before it came.
TEST(UnitValue, CrashDuringRecoveryOfAStoppedUnit_LeavesNoGroup) {
  bool reached = true;
  for (int step = 0; reached; ++step) {
    World world(Before::kNothing);
    ASSERT_TRUE(world.controller->Start(world.UnitSpec("cpu.limit")).ok());
    world.Crash();
    world.host.units.Stop();
    world.DieAtStep(step);
    world.Boot();
    reached = world.dead();
    world.Crash();
    world.Boot();
    ASSERT_EQ(world.host.values.count(kMax), 0u) << "died at step " << step;
    world.host.units.Start(true);
    world.ExpectAsBefore();
    ASSERT_FALSE(::testing::Test::HasFailure()) << "died at step " << step;
  }
}

TEST(UnitValue, CrashDuringRecovery_IsUndoneByTheOneAfter) {
  for (const Before before : kBefores) {
    bool reached = true;
    for (int step = 0; reached; ++step) {
      World world(before);
      ASSERT_TRUE(world.controller->Start(world.UnitSpec("cpu.limit")).ok());
      world.Crash();
      world.DieAtStep(step);
      world.Boot();
      reached = world.dead();
      world.Crash();
      if (step % 2 == 1) world.host.units.DaemonReload();
      world.Boot();
      ASSERT_EQ(world.controller->List(true).faults_size(), 0);
      world.ExpectAsBefore();
      ASSERT_FALSE(::testing::Test::HasFailure()) << "died at step " << step;
    }
  }
}

}  // namespace
}  // namespace faultline
