// SPDX-License-Identifier: Apache-2.0
//
// mem.limit on cgroup v1, on v2 and on a unit: what is refused and in which words, what is set and
// comes back, and what is counted.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/injector/controller_fixture.h"

namespace faultline {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

constexpr char kV1[] = "/web memory:memory.limit_in_bytes";
constexpr char kMemoryMax[] = "/web memory:memory.max";
constexpr char kHigh[] = "/web memory:memory.high";
constexpr char kUnitMax[] = "/system.slice/nginx.service memory:memory.max";

v1::FaultSpec Limit(const std::string& bytes, const std::string& by = "",
                    const std::string& allow_oom = "") {
  v1::FaultSpec spec = ControllerWorld::Spec("mem.limit", "a");
  (*spec.mutable_parameters())["bytes"] = bytes;
  if (!by.empty()) (*spec.mutable_parameters())["by"] = by;
  if (!allow_oom.empty()) (*spec.mutable_parameters())["allow_oom"] = allow_oom;
  return spec;
}

// A host with cgroup v2 and without systemd.
class MemoryV2World : public ControllerWorld {
 public:
  MemoryV2World() {
    host.cpu_version = "v2";
    for (const char* file : {"memory.max", "memory.high"}) {
      host.values[absl::StrCat("/web memory:", file)] = "max";
    }
    host.values["/web memory:memory.current"] = "1000000";
  }
};

void ExpectRefused(ControllerWorld& world, const v1::FaultSpec& spec, const std::string& why) {
  const auto refused = world.controller->Validate(spec);
  ASSERT_FALSE(refused.ok()) << why;
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr(why));
}

TEST(MemLimit, OnV1_SetsWholePagesAndBringsBackWhatWasThere) {
  ControllerWorld world;
  const std::string before = world.host.Digest();
  const auto started = world.controller->Start(Limit("500000"));
  ASSERT_TRUE(started.ok()) << started.status();
  EXPECT_EQ(world.host.values[kV1], "499712");
  world.Pass(20 * kNsPerSecond);
  EXPECT_EQ(world.Find("a").phase(), v1::PHASE_UNDONE);
  EXPECT_EQ(world.host.Digest(), before);
}

TEST(MemLimit, OnV2_SetsOneOfTheTwoFiles) {
  for (const char* by : {"max", "high"}) {
    MemoryV2World world;
    const std::string before = world.host.Digest();
    ASSERT_TRUE(world.controller->Start(Limit("512K", by)).ok());
    const bool high = std::string(by) == "high";
    EXPECT_EQ(world.host.values[kMemoryMax], high ? "max" : "524288");
    EXPECT_EQ(world.host.values[kHigh], high ? "524288" : "max");
    ASSERT_TRUE(world.controller->Stop("a").ok());
    EXPECT_EQ(world.host.Digest(), before);
  }
}

// The soft limit that comes back may free memory too, by a thread where there can be one.
TEST(MemLimit, EndsAlsoWhereNoThreadCanBeMade) {
  MemoryV2World world;
  world.host.values[kHigh] = "786432";
  const std::string before = world.host.Digest();
  ASSERT_TRUE(world.controller->Start(Limit("512K", "high")).ok());
  EXPECT_EQ(world.host.values[kHigh], "524288");
  world.host.no_threads = true;
  world.Pass(11 * kNsPerSecond);
  EXPECT_EQ(world.Find("a").phase(), v1::PHASE_UNDONE);
  EXPECT_EQ(world.host.Digest(), before);
  // One that would begin is refused, in words.
  v1::FaultSpec more = Limit("256K", "high");
  more.set_id("b");
  const auto refused = world.controller->Start(more);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("no thread"));
  EXPECT_EQ(world.host.Digest(), before);
}

TEST(MemLimit, ThatGivesMoreOrTheSame_IsRefused) {
  ControllerWorld world;
  world.host.values[kV1] = "524288";
  ExpectRefused(world, Limit("512K"), "/web is limited to 512 KiB already (memory.limit_in_bytes)");
  EXPECT_TRUE(world.controller->Validate(Limit("508K")).ok());
  // A group above.
  v1::FaultSpec below = Limit("512K");
  below.mutable_target()->set_cgroup("/web/worker");
  ExpectRefused(world, below, "control group /web is limited to 512 KiB already");

  MemoryV2World v2;
  v2.host.values[kHigh] = "524288";
  ExpectRefused(v2, Limit("1M"), "/web is limited to 512 KiB already (memory.high)");
}

TEST(MemLimit, BelowWhatCannotBeReclaimed_IsRefusedOrSaid) {
  ControllerWorld world;
  world.host.counters.anon_bytes = 2 << 20;
  ExpectRefused(world, Limit("1M", "", "yes"), "cgroup v1 takes no limit below that");

  MemoryV2World v2;
  v2.host.counters.anon_bytes = 2 << 20;
  ExpectRefused(v2, Limit("1M"), "/web holds 2 MiB that the kernel cannot reclaim");
  const auto high = v2.controller->Validate(Limit("1M", "high"));
  ASSERT_TRUE(high.ok()) << high.status();
  EXPECT_THAT(high->notes(), Contains(HasSubstr("its tasks crawl, none is killed")));
  const auto killed = v2.controller->Validate(Limit("1M", "max", "yes"));
  ASSERT_TRUE(killed.ok()) << killed.status();
  EXPECT_THAT(killed->notes(), Contains(HasSubstr("the kernel kills tasks of it")));
  v2.host.values["/web memory:memory.oom.group"] = "1";
  EXPECT_THAT(v2.controller->Validate(Limit("1M", "max", "yes"))->notes(),
              Contains(HasSubstr("the kernel kills every task of it")));
  v2.host.counters.anon_bytes = 0;
  v2.host.counters.unevictable_bytes = 2 << 20;
  ExpectRefused(v2, Limit("1M"), "holds 2 MiB");
}

TEST(MemLimit, ByHighOnV1_IsRefused) {
  ControllerWorld world;
  ExpectRefused(world, Limit("512K", "high"), "leave by out");
}

TEST(MemLimit, BesideAnother_IsRefused_WhateverTheFile) {
  MemoryV2World world;
  ASSERT_TRUE(world.controller->Start(Limit("512K")).ok());
  v1::FaultSpec other = Limit("256K", "high");
  other.set_id("b");
  ExpectRefused(world, other, "fault a (mem.limit");
}

TEST(MemLimit, CountsHitsAndKills_AlsoAfterADeath) {
  for (const bool v2 : {false, true}) {
    MemoryV2World world;
    world.host.cpu_version = v2 ? "v2" : "v1";
    world.host.counters.limit_hits = 70;
    world.host.counters.oom_kills = 2;
    ASSERT_TRUE(world.controller->Start(Limit("512K")).ok());
    world.Pass(kNsPerSecond);
    EXPECT_EQ(world.Find("a").edges().first_touch().boottime_ns(), 0);
    world.host.counters.limit_hits = 75;
    world.Pass(kNsPerSecond);
    v1::FaultState state = world.Find("a");
    ASSERT_EQ(state.dose_size(), 2);
    EXPECT_EQ(state.dose(0).name(), "limit_hits");
    EXPECT_EQ(state.dose(0).value(), 5);
    EXPECT_EQ(state.dose(1).value(), 0);
    EXPECT_NE(state.edges().first_touch().boottime_ns(), 0);
    EXPECT_GT(state.edges().first_touch().error_ns(), 0);
    EXPECT_LE(state.edges().first_touch().error_ns(), kNsPerSecond);
    world.Crash();
    world.host.counters.limit_hits = 79;
    world.host.counters.oom_kills = 3;
    world.Boot();
    state = world.Find("a");
    EXPECT_EQ(state.phase(), v1::PHASE_UNDONE);
    EXPECT_TRUE(state.dose_complete());
    EXPECT_EQ(state.dose(0).value(), 9);
    EXPECT_EQ(state.dose(1).value(), 1);
  }
}

TEST(MemLimit, CountersThatBeginAnew_AreSaid) {
  ControllerWorld world;
  world.host.counters.limit_hits = 70;
  ASSERT_TRUE(world.controller->Start(Limit("512K")).ok());
  world.host.counters.limit_hits = 3;
  const auto ended = world.controller->Stop("a");
  ASSERT_TRUE(ended.ok());
  EXPECT_THAT(ended->reason(), HasSubstr("counts anew"));
}

TEST(MemLimit, Ramp_GoesFromWhatIsUsedDown) {
  ControllerWorld world;
  v1::FaultSpec spec = Limit("512K");
  spec.mutable_shape()->set_kind(v1::SHAPE_KIND_RAMP);
  spec.mutable_shape()->set_ramp_ns(2 * kNsPerSecond);
  const auto started = world.controller->Start(spec);
  ASSERT_TRUE(started.ok()) << started.status();
  ASSERT_EQ(started->changes(0).steps_size(), Shape::kSteps);
  std::int64_t last = 1'000'000;
  for (const std::string& step : started->changes(0).steps()) {
    const std::int64_t bytes = std::atoll(step.c_str());
    EXPECT_LE(bytes, last);
    EXPECT_GE(bytes, 512 << 10);
    EXPECT_EQ(bytes % 4096, 0);
    last = bytes;
  }
  world.Pass(3 * kNsPerSecond);
  EXPECT_EQ(world.host.values[kV1], "524288");
}

TEST(MemLimit, Pulse_GivesTheLimitOfBeforeBackInBetween) {
  MemoryV2World world;
  v1::FaultSpec spec = Limit("512K");
  spec.mutable_shape()->set_kind(v1::SHAPE_KIND_PULSE);
  spec.mutable_shape()->set_on_ns(kNsPerSecond);
  spec.mutable_shape()->set_off_ns(kNsPerSecond);
  ASSERT_TRUE(world.controller->Start(spec).ok());
  EXPECT_EQ(world.host.values[kMemoryMax], "524288");
  world.Pass(1'500 * kNsPerMs);
  EXPECT_EQ(world.host.values[kMemoryMax], "max");
  world.Pass(kNsPerSecond);
  EXPECT_EQ(world.host.values[kMemoryMax], "524288");
}

TEST(MemLimit, OnAUnit_GoesThroughSystemd_AndLeavesNothing) {
  for (const char* by : {"max", "high"}) {
    ControllerWorld world;
    world.RunUnit(true);
    world.host.units.lag = 3;
    const std::string before = world.host.Digest();
    v1::FaultSpec spec = world.UnitSpec("mem.limit");
    (*spec.mutable_parameters())["by"] = by;
    const auto started = world.controller->Start(spec);
    ASSERT_TRUE(started.ok()) << started.status();
    EXPECT_EQ(world.host.values[absl::StrCat(FakeUnits::kGroup, " memory:memory.", by)], "524288");
    EXPECT_EQ(world.host.units.files.size(), 1u);
    world.host.units.DaemonReload();
    world.Pass(kNsPerSecond);
    EXPECT_EQ(world.Find("a").phase(), v1::PHASE_VERIFIED);
    const auto ended = world.controller->Stop("a");
    ASSERT_TRUE(ended.ok());
    EXPECT_EQ(ended->phase(), v1::PHASE_UNDONE) << ended->ShortDebugString();
    EXPECT_EQ(world.host.Digest(), before);
    world.host.units.DaemonReload();
    EXPECT_EQ(world.host.Digest(), before);
  }
}

TEST(MemLimit, WrittenPastSystemd_IsRefused) {
  ControllerWorld world;
  world.RunUnit(true);
  world.host.values[kUnitMax] = "8388608";
  ExpectRefused(world, world.UnitSpec("mem.limit"), "somebody wrote past it");
}

// The folder of the unit's drop-ins is there when the second begins, and goes with the last.
TEST(MemLimit, BesideAnotherFaultOnTheUnit_LeavesNothing_WhicheverEndsLast) {
  for (const char* last : {"a", "b"}) {
    ControllerWorld world;
    world.RunUnit(true);
    const std::string before = world.host.Digest();
    ASSERT_TRUE(world.controller->Start(world.UnitSpec("cpu.limit")).ok());
    v1::FaultSpec spec = world.UnitSpec("mem.limit");
    spec.set_id("b");
    ASSERT_TRUE(world.controller->Start(spec).ok());
    ASSERT_TRUE(world.controller->Stop(std::string(last) == "a" ? "b" : "a").ok());
    EXPECT_EQ(world.Find(last).phase(), v1::PHASE_VERIFIED);
    ASSERT_TRUE(world.controller->Stop(last).ok());
    EXPECT_EQ(world.host.Digest(), before);
  }
}

// One that begins while the undo of another hangs finds the folder without that one's drop-in.
TEST(MemLimit, AfterAnUndoThatFailedAtAnyStep_LeavesNothing) {
  bool reached = true;
  for (int step = 0; reached; ++step) {
    ControllerWorld world;
    world.RunUnit(true);
    const std::string before = world.host.Digest();
    ASSERT_TRUE(world.controller->Start(world.UnitSpec("cpu.limit")).ok());
    reached = false;
    world.host.on_step = [left = step, &reached](const std::string& /*step*/) mutable {
      if (left-- != 0) return absl::OkStatus();
      reached = true;
      return absl::UnavailableError("fails for once");
    };
    ASSERT_TRUE(world.controller->Stop("a").ok());
    world.host.on_step = nullptr;
    v1::FaultSpec spec = world.UnitSpec("mem.limit");
    spec.set_id("b");
    const bool started = world.controller->Start(spec).ok();
    world.Pass(20 * kNsPerSecond);
    ASSERT_EQ(world.host.Digest(), before) << "failed at step " << step << ", " << started;
  }
}

TEST(MemLimit, OnAUnit_DiesAtEveryStep_AndIsUndone) {
  bool reached = true;
  for (int step = 0; reached; step += kNextStep) {
    ControllerWorld world;
    world.RunUnit(true);
    const std::string before = world.host.Digest();
    world.DieAtStep(step);
    const bool started = world.controller->Start(world.UnitSpec("mem.limit")).ok();
    if (started && !world.dead()) world.Pass(kNsPerSecond);
    if (started && !world.dead()) world.Pass(20 * kNsPerSecond);
    reached = world.dead();
    world.Crash();
    world.Boot();
    ASSERT_EQ(world.host.Digest(), before) << "died at step " << step;
  }
}

}  // namespace
}  // namespace faultline
