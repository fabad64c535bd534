// SPDX-License-Identifier: Apache-2.0
//
// io.limit on cgroup v1 and v2: what is refused and in which words, that lines of other devices
// stay, and what counts as met.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "injector/host/keyed_text.h"
#include "tests/injector/controller_fixture.h"

namespace faultline {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kReadFile[] = "/web blkio:blkio.throttle.read_bps_device";
constexpr char kWriteOpsFile[] = "/web blkio:blkio.throttle.write_iops_device";
constexpr char kIoMaxFile[] = "/web io:io.max";

using Given = std::vector<std::pair<std::string, std::string>>;

v1::FaultSpec IoSpec(const Given& parameters) {
  v1::FaultSpec spec = ControllerWorld::Spec("io.limit", "a");
  spec.clear_parameters();
  for (const auto& [name, value] : parameters) (*spec.mutable_parameters())[name] = value;
  return spec;
}

// A host with cgroup v2 and without systemd; another device is limited already.
class IoV2World : public ControllerWorld {
 public:
  static constexpr char kOther[] = "8:0 rbps=max wbps=77 riops=max wiops=max";
  IoV2World() {
    host.cpu_version = "v2";
    host.values[kIoMaxFile] = kOther;
  }
};

void ExpectRefused(ControllerWorld& world, const Given& parameters, const std::string& why) {
  const auto refused = world.controller->Validate(IoSpec(parameters));
  ASSERT_FALSE(refused.ok()) << why;
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr(why));
}

TEST(KeyedText, OneLinePerDevice) {
  EXPECT_EQ(ValueOfKey("254:0 12\n25:0 13\n", "25:0"), "13");
  EXPECT_EQ(ValueOfKey("254:0 12\n", "54:0"), "");
  EXPECT_EQ(ValueOfKey("", "254:0"), "");
  EXPECT_EQ(LineForKey("io.max", "8:0", ""), "8:0 rbps=max wbps=max riops=max wiops=max");
  EXPECT_EQ(LineForKey("blkio.throttle.read_bps_device", "8:0", ""), "8:0 0");
  EXPECT_EQ(LineForKey("io.max", "8:0", "rbps=1"), "8:0 rbps=1");
}

TEST(IoLimit, OnV1_SetsALineInEachFile_AndTakesItAway) {
  ControllerWorld world;
  world.host.values[kReadFile] = "8:0 77";
  const std::string before = world.host.Digest();
  const auto started = world.controller->Start(ControllerWorld::Spec("io.limit", "a"));
  ASSERT_TRUE(started.ok()) << started.status();
  EXPECT_EQ(world.host.values[kReadFile], "254:0 1048576\n8:0 77");
  EXPECT_EQ(world.host.values[kWriteOpsFile], "254:0 100");
  EXPECT_EQ(started->changes(0).attribute(), "blkio:blkio.throttle.read_bps_device 254:0");
  // Somebody limits the other device meanwhile: nothing to do with this.
  world.host.values[kReadFile] = "254:0 1048576";
  world.Pass(kNsPerSecond);
  EXPECT_EQ(world.Find("a").phase(), v1::PHASE_VERIFIED);
  world.host.values[kReadFile] = "254:0 1048576\n8:0 77";
  ASSERT_TRUE(world.controller->Stop("a").ok());
  EXPECT_EQ(world.host.Digest(), before);
}

TEST(IoLimit, OnV2_KeepsWhatItDoesNotLimit_AndOtherDevices) {
  IoV2World world;
  const std::string mine = "254:0 rbps=max wbps=5000 riops=max wiops=max";
  world.host.values[kIoMaxFile] = absl::StrCat(mine, "\n", IoV2World::kOther);
  const std::string before = world.host.Digest();
  const auto started = world.controller->Start(IoSpec({{"device", "254:0"}, {"read", "1M"}}));
  ASSERT_TRUE(started.ok()) << started.status();
  EXPECT_EQ(world.host.values[kIoMaxFile],
            absl::StrCat("254:0 rbps=1048576 wbps=5000 riops=max wiops=max\n", IoV2World::kOther));
  world.Pass(20 * kNsPerSecond);
  EXPECT_EQ(world.Find("a").phase(), v1::PHASE_UNDONE);
  EXPECT_EQ(world.host.Digest(), before);
}

TEST(IoLimit, WhatCannotBe_IsRefused) {
  ControllerWorld world;
  ExpectRefused(world, {{"device", "vda"}}, "give one of read and write");
  ExpectRefused(world, {{"device", "sdz"}, {"read", "1M"}}, "there is no block device sdz");
  ExpectRefused(world, {{"device", "vda1"}, {"read", "1M"}},
                "vda1 is a partition, and the kernel limits whole devices only; give device=vda");
  ExpectRefused(world, {{"device", "vda"}, {"read", "100"}}, "ask for at least 4 KiB/s");
  ExpectRefused(world, {{"device", "vda"}, {"read_ops", "0.1"}}, "at least 1 operations/s");
  world.host.values[kReadFile] = "254:0 1048576";
  ExpectRefused(world, {{"device", "vda"}, {"read", "1M"}},
                "/web is limited to read=1 MiB/s on 254:0 already");
  EXPECT_TRUE(world.controller->Validate(IoSpec({{"device", "vda"}, {"read", "1000K"}})).ok());

  IoV2World v2;
  v2.host.values["/web/worker io:io.max"] = "";
  v2.host.values[kIoMaxFile] = "254:0 rbps=max wbps=max riops=50 wiops=max";
  v1::FaultSpec below = IoSpec({{"device", "vda"}, {"read_ops", "50"}});
  below.mutable_target()->set_cgroup("/web/worker");
  const auto refused = v2.controller->Validate(below);
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr("/web is limited to read_ops=50 operations/s on 254:0 already"));
  v2.host.values.erase(kIoMaxFile);
  ExpectRefused(v2, {{"device", "vda"}, {"read", "1M"}}, "its io controller is off");
}

TEST(IoLimit, OnV1_SaysWhatItDoesNotLimit) {
  ControllerWorld world;
  const auto plan = world.controller->Validate(ControllerWorld::Spec("io.limit", "a"));
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(plan->notes(), Contains(HasSubstr("what the page cache writes later")));
  EXPECT_THAT(plan->notes(), Contains(HasSubstr("has moved nothing on vda so far")));
  IoV2World v2;
  v2.host.counters.bytes = 1;
  const auto clean = v2.controller->Validate(ControllerWorld::Spec("io.limit", "a"));
  ASSERT_TRUE(clean.ok()) << clean.status();
  EXPECT_THAT(clean->notes(), Not(Contains(HasSubstr("page cache"))));
}

// What goes through is the dose at once; it is met where the rate comes up to the limit.
TEST(IoLimit, IsMetWhereTheRateComesUpToTheLimit) {
  for (const bool v2 : {false, true}) {
    IoV2World world;
    world.host.cpu_version = v2 ? "v2" : "v1";
    world.host.counters.bytes = 1'000;
    ASSERT_TRUE(world.controller->Start(IoSpec({{"device", "vda"}, {"read", "1M"}})).ok());
    // A lone request, at a rate far above the limit for a moment.
    world.host.counters.bytes += 128 << 10;
    world.host.counters.operations += 1;
    world.Pass(2 * kNsPerSecond);
    v1::FaultState state = world.Find("a");
    ASSERT_EQ(state.dose_size(), 2);
    EXPECT_EQ(state.dose(0).value(), 128 << 10);
    EXPECT_EQ(state.dose(1).value(), 1);
    EXPECT_EQ(state.edges().first_touch().boottime_ns(), 0);
    for (int i = 0; i < 20; ++i) {
      world.host.counters.bytes += 100 << 10;
      world.Pass(100 * kNsPerMs);
    }
    state = world.Find("a");
    const v1::Edge& touch = state.edges().first_touch();
    EXPECT_NE(touch.boottime_ns(), 0);
    EXPECT_GE(touch.error_ns(), 500 * kNsPerMs);
    EXPECT_LE(touch.error_ns(), 700 * kNsPerMs);
    world.Crash();
    world.host.counters.bytes += 7;
    world.Boot();
    state = world.Find("a");
    EXPECT_TRUE(state.dose_complete());
    EXPECT_EQ(state.dose(0).value(), (128 << 10) + 20 * (100 << 10) + 7);
  }
}

v1::FaultSpec Pulsed(const Given& parameters, std::int64_t on_ns, std::int64_t off_ns) {
  v1::FaultSpec spec = IoSpec(parameters);
  spec.mutable_shape()->set_kind(v1::SHAPE_KIND_PULSE);
  spec.mutable_shape()->set_on_ns(on_ns);
  spec.mutable_shape()->set_off_ns(off_ns);
  return spec;
}

TEST(IoLimit, InPulses_IsGivenBackBetweenThem_AndCountsOnlyThem) {
  for (const bool v2 : {false, true}) {
    SCOPED_TRACE(v2);
    IoV2World world;
    world.host.cpu_version = v2 ? "v2" : "v1";
    const std::string before = world.host.Digest();
    ASSERT_TRUE(
        world.controller
            ->Start(Pulsed({{"device", "vda"}, {"read", "1M"}}, 300 * kNsPerMs, 700 * kNsPerMs))
            .ok());
    const std::string limited = world.host.Digest();
    EXPECT_NE(limited, before);
    for (int round = 0; round < 4; ++round) {
      EXPECT_EQ(world.host.Digest(), limited) << round;
      // As much as the limit lets through; then, without it, ten times as much.
      for (int i = 0; i < 10; ++i) {
        const bool on = i < 3;
        world.host.counters.bytes += (on ? 100 : 1000) << 10;
        world.host.counters.operations += on ? 1 : 7;
        world.Pass(100 * kNsPerMs);
        if (i == 2) {
          EXPECT_EQ(world.host.Digest(), before) << round;
        }
      }
    }
    const v1::FaultState state = world.Find("a");
    EXPECT_EQ(state.dose(0).value(), 4 * 3 * (100 << 10));
    EXPECT_EQ(state.dose(1).value(), 4 * 3);
    // Half a second of pulses is two of them: not before the second one was over.
    EXPECT_NE(state.edges().first_touch().boottime_ns(), 0);
    EXPECT_GE(state.edges().first_touch().boottime_ns(),
              state.start_boottime_ns() + 1'200 * kNsPerMs);
    world.Pass(20 * kNsPerSecond);
    EXPECT_EQ(world.Find("a").phase(), v1::PHASE_UNDONE) << world.Find("a").reason();
    EXPECT_TRUE(world.Find("a").dose_complete());
    EXPECT_EQ(world.host.Digest(), before);
  }
}

// What is far from the limit in pulses, and above it between them, was not met.
TEST(IoLimit, InPulses_WhatPassesBetweenThemIsNoTouch) {
  IoV2World world;
  ASSERT_TRUE(
      world.controller
          ->Start(Pulsed({{"device", "vda"}, {"read", "1M"}}, 300 * kNsPerMs, 700 * kNsPerMs))
          .ok());
  for (int i = 0; i < 50; ++i) {
    world.host.counters.bytes += (i % 10 < 3 ? 10 : 1000) << 10;
    world.Pass(100 * kNsPerMs);
  }
  EXPECT_EQ(world.Find("a").dose(0).value(), 5 * 3 * (10 << 10));
  EXPECT_EQ(world.Find("a").edges().first_touch().boottime_ns(), 0);
}

// The counters went on, and nobody knows when the last pulse ended.
TEST(IoLimit, InPulses_ADeathMakesTheDoseALowerBound) {
  IoV2World world;
  const std::string before = world.host.Digest();
  ASSERT_TRUE(world.controller
                  ->Start(Pulsed({{"device", "vda"}, {"read", "1M"}}, kNsPerSecond, kNsPerSecond))
                  .ok());
  world.host.counters.bytes += 5'000;
  world.Pass(2'500 * kNsPerMs);
  const std::int64_t known = world.Find("a").dose(0).value();
  EXPECT_EQ(known, 5'000);
  world.Crash();
  world.host.counters.bytes += 1'000'000;
  world.Boot();
  const v1::FaultState state = world.Find("a");
  EXPECT_FALSE(state.dose_complete());
  EXPECT_LE(state.dose(0).value(), known);
  EXPECT_THAT(state.reason(), HasSubstr("what was moved in pulses after that is not known"));
  EXPECT_EQ(world.host.Digest(), before);
}

// A reading that fails at the edge of a pulse is told, as then a part is not counted.
TEST(IoLimit, InPulses_AReadingThatFailsIsTold) {
  IoV2World world;
  ASSERT_TRUE(world.controller
                  ->Start(Pulsed({{"device", "vda"}, {"read", "1M"}}, kNsPerSecond, kNsPerSecond))
                  .ok());
  world.Pass(900 * kNsPerMs);
  world.host.counters.broken = true;
  world.Pass(200 * kNsPerMs);
  world.host.counters.broken = false;
  world.host.counters.bytes += 9'000;
  world.Pass(20 * kNsPerSecond);
  const v1::FaultState state = world.Find("a");
  EXPECT_EQ(state.phase(), v1::PHASE_UNDONE);
  EXPECT_FALSE(state.dose_complete());
  EXPECT_EQ(state.dose(0).value(), 0) << "between two pulses";
}

TEST(IoLimit, AsARamp_ComesDownToTheLimit) {
  IoV2World world;
  world.host.values[kIoMaxFile] = "254:0 rbps=9000000 wbps=max riops=max wiops=max";
  const std::string before = world.host.Digest();
  v1::FaultSpec spec = IoSpec({{"device", "vda"}, {"read", "1000000"}, {"write_ops", "100"}});
  spec.mutable_shape()->set_kind(v1::SHAPE_KIND_RAMP);
  spec.mutable_shape()->set_ramp_ns(4 * kNsPerSecond);
  const auto started = world.controller->Start(spec);
  ASSERT_TRUE(started.ok()) << started.status();
  const v1::Change& change = started->changes(0);
  ASSERT_EQ(change.steps_size(), 20);
  // Never more than there was.
  EXPECT_EQ(change.steps(0), "rbps=9000000 wbps=max riops=max wiops=4000");
  EXPECT_EQ(change.steps(9), "rbps=2105263 wbps=max riops=max wiops=211");
  EXPECT_EQ(world.host.values[kIoMaxFile], absl::StrCat("254:0 ", change.steps(0)));
  // Twice the limit: below what the ramp lets through until half of it is over.
  std::int64_t touched_ms = 0;
  for (int ms = 0; ms < 4'500 && touched_ms == 0; ms += 100) {
    world.host.counters.bytes += 200'000;
    world.Pass(100 * kNsPerMs);
    if (world.Find("a").edges().first_touch().boottime_ns() != 0) touched_ms = ms + 100;
  }
  EXPECT_GT(touched_ms, 1'700);
  EXPECT_LT(touched_ms, 2'900);
  world.Pass(5 * kNsPerSecond);
  EXPECT_EQ(world.host.values[kIoMaxFile], absl::StrCat("254:0 ", change.after()));
  ASSERT_TRUE(world.controller->Stop("a").ok());
  EXPECT_EQ(world.host.Digest(), before);
  world.host.cpu_version = "v1";
  spec.set_id("b");
  const auto v1 = world.controller->Start(spec);
  ASSERT_TRUE(v1.ok()) << v1.status();
  EXPECT_EQ(world.host.values[kReadFile], "254:0 40000000");
  EXPECT_EQ(world.host.values[kWriteOpsFile], "254:0 4000");
  ASSERT_TRUE(world.controller->Stop("b").ok());
  EXPECT_EQ(world.host.Digest(), before);
}

TEST(IoLimit, OnV2_DiesAtEveryStep_AndIsUndone) {
  bool reached = true;
  for (int step = 0; reached; step += kNextStep) {
    IoV2World world;
    const std::string before = world.host.Digest();
    world.DieAtStep(step);
    const bool started = world.controller->Start(IoSpec({{"device", "vda"}, {"write", "1M"}})).ok();
    if (started && !world.dead()) world.Pass(20 * kNsPerSecond);
    reached = world.dead();
    world.Crash();
    world.Boot();
    ASSERT_EQ(world.host.Digest(), before) << "died at step " << step;
  }
}

// systemd keeps no line for the device, so none of it is told.
TEST(IoLimit, OnAUnitsOwnGroup_IsWrittenPastSystemd) {
  ControllerWorld world;
  world.RunUnit(true);
  const std::string key = absl::StrCat(FakeUnits::kGroup, " io:io.max");
  world.host.values[key] = "";
  const std::string before = world.host.Digest();
  const auto started = world.controller->Start(world.UnitSpec("io.limit"));
  ASSERT_TRUE(started.ok()) << started.status();
  EXPECT_EQ(world.host.values[key], "254:0 rbps=1048576 wbps=max riops=max wiops=100");
  EXPECT_FALSE(started->changes(0).has_unit());
  world.host.units.DaemonReload();
  world.Pass(kNsPerSecond);
  EXPECT_EQ(world.Find("a").phase(), v1::PHASE_VERIFIED);
  ASSERT_TRUE(world.controller->Stop("a").ok());
  EXPECT_EQ(world.host.Digest(), before);
}

}  // namespace
}  // namespace faultline
