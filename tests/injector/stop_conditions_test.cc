// SPDX-License-Identifier: Apache-2.0
#include "injector/stop_conditions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/status/status.h"
#include "tests/injector/controller_fixture.h"

namespace faultline {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::int64_t kMib = std::int64_t{1} << 20;

class FakeReadings final : public HostReadings {
 public:
  absl::StatusOr<double> Pressure(absl::string_view what) override {
    ++reads;
    if (what == "cpu") return cpu;
    return what == "memory" ? memory_pressure : io;
  }
  absl::StatusOr<Amounts> Memory() override { return ++reads, memory; }
  absl::StatusOr<double> Temperature() override { return ++reads, temperature; }
  absl::StatusOr<double> LoadPerCpu() override { return ++reads, load; }
  absl::StatusOr<Amounts> Disk() override { return ++reads, disk; }

  absl::StatusOr<double> cpu = 0.0;
  absl::StatusOr<double> memory_pressure = 0.0;
  absl::StatusOr<double> io = 0.0;
  absl::StatusOr<double> temperature = 40.0;
  absl::StatusOr<double> load = 0.5;
  absl::StatusOr<Amounts> memory = Amounts{1000 * kMib, 600 * kMib};
  absl::StatusOr<Amounts> disk = Amounts{100'000 * kMib, 50'000 * kMib};
  int reads = 0;
};

StopLimits All() {
  return {.psi_cpu = 90,
          .psi_memory = 60,
          .psi_io = 80,
          .memory_free = {.percent = 5},
          .temperature = 85,
          .load = 4,
          .disk = {.percent = 10}};
}

TEST(StopConditions, SayWhichHoldsAndByHowMuch) {
  FakeReadings readings;
  const StopConditions stop(All(), &readings);
  EXPECT_EQ(stop.Holding(), "");
  readings.cpu = 90.0;
  EXPECT_EQ(stop.Holding(), "");
  readings.cpu = 90.26;
  EXPECT_EQ(stop.Holding(), "CPU pressure 90.26 % is above stop-psi-cpu 90 %");
  readings.cpu = 0.0;
  readings.memory_pressure = 72.0;
  EXPECT_EQ(stop.Holding(), "memory pressure 72 % is above stop-psi-memory 60 %");
  readings.memory_pressure = 0.0;
  readings.io = 81.5;
  EXPECT_EQ(stop.Holding(), "I/O pressure 81.5 % is above stop-psi-io 80 %");
  readings.io = 0.0;
  readings.temperature = 85.5;
  EXPECT_EQ(stop.Holding(), "the hottest sensor 85.5 degrees is above stop-temperature 85 degrees");
  readings.temperature = 40.0;
  readings.load = 4.25;
  EXPECT_EQ(stop.Holding(), "load per CPU 4.25 is above stop-load 4");
  readings.load = 0.0;
  readings.memory = Amounts{1000 * kMib, 49 * kMib};
  EXPECT_EQ(stop.Holding(), "available memory 49 MiB is below stop-memory-free 5 %");
  readings.memory = Amounts{1000 * kMib, 50 * kMib};
  readings.disk = Amounts{100'000 * kMib, 9'999 * kMib};
  EXPECT_EQ(stop.Holding(),
            "9.7 GiB free where the journal is, which is below disk-reserve, here 9.7 GiB");
}

TEST(StopConditions, ADiskKeepsAtLeast512MiB_ButNotAllOfASmallOne) {
  FakeReadings readings;
  const StopConditions share({.disk = {.percent = 10}}, &readings);
  const StopConditions size({.disk = {.bytes = 100 * kMib}}, &readings);
  struct Case {
    std::int64_t total_mib;
    std::int64_t free_mib;
    bool share_holds;
  };
  for (const Case& each : {Case{4000, 511, true}, Case{4000, 512, false}, Case{400, 99, true},
                           Case{400, 100, false}, Case{100'000, 9'999, true}}) {
    readings.disk = Amounts{each.total_mib * kMib, each.free_mib * kMib};
    EXPECT_EQ(!share.Holding().empty(), each.share_holds) << each.total_mib;
    EXPECT_EQ(!size.Holding().empty(), each.free_mib < 100) << each.total_mib;
  }
}

TEST(StopConditions, WhatIsOffIsNotRead_AndWhatCannotBeReadStopsNothing) {
  FakeReadings readings;
  readings.temperature = absl::NotFoundError("no zone");
  readings.memory_pressure = absl::NotFoundError("no pressure");
  const StopConditions off({}, &readings);
  EXPECT_FALSE(off.any());
  EXPECT_EQ(off.Holding(), "");
  EXPECT_EQ(readings.reads, 0);
  const StopConditions two({.psi_memory = 60, .temperature = 90}, &readings);
  EXPECT_TRUE(two.any());
  EXPECT_EQ(two.Holding(), "");
  EXPECT_EQ(readings.reads, 2);
  EXPECT_THAT(two.Describe(), ElementsAre("memory pressure above 60 % (not looked at: no pressure)",
                                          "the hottest sensor above 90 degrees (not looked at: no "
                                          "zone)"));
}

class StoppingHost : public ::testing::Test {
 protected:
  StoppingHost() : before_(world_.host.Digest()) {
    world_.stop = All();
    world_.readings = &readings_;
    world_.Crash();
    world_.Boot();
  }
  static v1::FaultSpec Spec(const std::string& type, const std::string& id) {
    v1::FaultSpec spec = ControllerWorld::Spec(type, id);
    spec.set_duration_ns(60 * kNsPerSecond);
    return spec;
  }

  FakeReadings readings_;
  ControllerWorld world_;
  const std::string before_;
};

TEST_F(StoppingHost, EndsEveryFault_AndStartsNoneWhileItIsSo) {
  ASSERT_TRUE(world_.controller->Start(Spec("cpu.limit", "a")).ok());
  ASSERT_TRUE(world_.controller->Start(Spec("mem.leak", "b")).ok());
  world_.Pass(5 * kNsPerSecond);
  readings_.memory_pressure = 72.0;
  const std::int64_t since_ns = world_.clock.Now().boottime_ns;
  world_.Pass(2 * kNsPerSecond);
  for (const char* id : {"a", "b"}) {
    const v1::FaultState ended = world_.Find(id);
    EXPECT_EQ(ended.phase(), v1::PHASE_UNDONE) << id;
    EXPECT_EQ(ended.reason(),
              "stopped by this host: memory pressure 72 % is above stop-psi-memory 60 %");
    EXPECT_LE(ended.edges().undone().boottime_ns() - since_ns, kNsPerSecond);
  }
  EXPECT_EQ(world_.host.Digest(), before_);
  const auto refused = world_.controller->Start(Spec("cpu.limit", "c"));
  EXPECT_TRUE(absl::IsFailedPrecondition(refused.status()));
  EXPECT_EQ(refused.status().message(),
            "this host takes no fault now: memory pressure 72 % is above stop-psi-memory 60 %; it "
            "does when that is over");
  EXPECT_FALSE(world_.controller->Validate(Spec("cpu.limit", "c")).ok());
  readings_.memory_pressure = 3.0;
  EXPECT_TRUE(world_.controller->Start(Spec("cpu.limit", "d")).ok());
}

TEST_F(StoppingHost, LooksOnceASecond_AndOnlyWhileAFaultIsThere) {
  world_.Pass(60 * kNsPerSecond);
  EXPECT_EQ(readings_.reads, 0);
  ASSERT_TRUE(world_.controller->Start(ControllerWorld::Spec("hold.controllers", "h")).ok());
  world_.Pass(5 * kNsPerSecond);
  EXPECT_EQ(readings_.reads, 0);
  ASSERT_TRUE(world_.controller->Start(Spec("cpu.limit", "a")).ok());
  const int once = readings_.reads;
  world_.Pass(10 * kNsPerSecond);
  EXPECT_LE(readings_.reads, 12 * once);
  EXPECT_GE(readings_.reads, 10 * once);
  ASSERT_TRUE(world_.controller->Stop("a").ok());
  const int then = readings_.reads;
  world_.Pass(10 * kNsPerSecond);
  EXPECT_EQ(readings_.reads, then);
}

TEST_F(StoppingHost, WhatARunHolds_StaysInPlace) {
  ASSERT_TRUE(world_.controller->Start(ControllerWorld::Spec("hold.controllers", "h")).ok());
  ASSERT_TRUE(world_.controller->Start(Spec("cpu.limit", "a")).ok());
  readings_.temperature = 99.0;
  world_.Pass(2 * kNsPerSecond);
  EXPECT_EQ(world_.Find("a").phase(), v1::PHASE_UNDONE);
  EXPECT_EQ(world_.Find("h").phase(), v1::PHASE_VERIFIED);
}

TEST_F(StoppingHost, TellsItsLimits) {
  world_.guard.max_faults = 7;
  world_.guard.max_hour_share = 25;
  world_.guard.protected_cgroups = {"/kept"};
  world_.guard.protection.emplace(std::vector<std::string>{"nginx.service"});
  world_.Crash();
  world_.Boot();
  const v1::Limits limits = world_.controller->GetCapabilities().limits();
  EXPECT_EQ(limits.max_faults(), 7);
  EXPECT_EQ(limits.max_duration_ns(), 3600 * kNsPerSecond);
  EXPECT_EQ(limits.max_hour_share(), 25);
  EXPECT_THAT(limits.protected_(),
              ::testing::IsSupersetOf(
                  {"/kept", "ssh.service", "faultline-agent.service", "nginx.service"}));
  EXPECT_EQ(limits.stop_when_size(), 7);
  EXPECT_EQ(limits.stop_when(0), "CPU pressure above 90 %");
  EXPECT_EQ(limits.stop_when(6), "free space where the journal is below 9.7 GiB");
}

TEST(StopLoss, EndsRootsFaultsToo_ButNoneOfAHostThatNeverHadACollector) {
  ControllerWorld world;
  world.stop = {.loss_ns = 20 * kNsPerSecond};
  world.Crash();
  world.Boot();
  v1::FaultSpec spec = ControllerWorld::Spec("cpu.limit", "a");
  spec.set_duration_ns(600 * kNsPerSecond);
  ASSERT_TRUE(world.controller->Start(spec).ok());
  world.Pass(60 * kNsPerSecond);
  ASSERT_EQ(world.Find("a").phase(), v1::PHASE_VERIFIED);
  v1::LeaseRequest lease;
  lease.set_ttl_ns(9 * kNsPerSecond);
  ASSERT_TRUE(world.controller->RenewLease(lease).ok());
  world.Pass(19 * kNsPerSecond);
  ASSERT_EQ(world.Find("a").phase(), v1::PHASE_VERIFIED);
  world.Pass(3 * kNsPerSecond);
  EXPECT_EQ(world.Find("a").phase(), v1::PHASE_UNDONE);
  EXPECT_THAT(world.Find("a").reason(),
              AllOf(HasSubstr("stopped by this host: the collector was not heard of for 2"),
                    HasSubstr("which is above stop-loss 20s")));
  spec.set_id("b");
  EXPECT_FALSE(world.controller->Start(spec).ok());
  ASSERT_TRUE(world.controller->RenewLease(lease).ok());
  EXPECT_TRUE(world.controller->Validate(spec).ok());
}

}  // namespace
}  // namespace faultline
