// SPDX-License-Identifier: Apache-2.0
//
// cpu.load on the fake host: what is refused, and what its helper is told.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/injector/controller_fixture.h"

namespace faultline {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class CpuLoadTest : public ::testing::Test {
 protected:
  static v1::FaultSpec Load(const std::string& cpus, const std::string& cgroup = "/web",
                            const std::string& id = "a") {
    v1::FaultSpec spec = ControllerWorld::Spec("cpu.load", id, cgroup);
    (*spec.mutable_parameters())["cpus"] = cpus;
    return spec;
  }
  void ExpectRefused(const v1::FaultSpec& spec, const std::string& why) {
    const absl::Status refused = controller().Validate(spec).status();
    EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
    EXPECT_THAT(std::string(refused.message()), HasSubstr(why));
  }
  Controller& controller() { return *world_.controller; }

  ControllerWorld world_;
};

TEST_F(CpuLoadTest, MoreThanTheHostHasIsRefused) {
  ExpectRefused(Load("4.5"),
                "cpu.load: the host has 4 CPUs, so /web cannot use 4.5; ask for at most 4");
  const auto plan = controller().Validate(Load("4"));
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(plan->notes(0), HasSubstr("every CPU of the host"));
}

TEST_F(CpuLoadTest, MoreThanAQuotaIsRefused_TheGroupsOrOneAbove) {
  world_.host.values["/web cpu:cpu.cfs_quota_us"] = "150000";
  ExpectRefused(Load("2"), "control group /web is limited to 1.5 CPU, so /web cannot use 2; ask");
  ExpectRefused(Load("2", "/web/worker"),
                "control group /web is limited to 1.5 CPU, so /web/worker");
  EXPECT_TRUE(controller().Validate(Load("1.5")).ok());
  EXPECT_TRUE(controller().Validate(Load("2", "/db")).ok());
}

TEST_F(CpuLoadTest, MoreThanAQuotaOfV2IsRefused) {
  world_.host.cpu_version = "v2";
  world_.host.values["/web cpu:cpu.max"] = "50000 100000";
  ExpectRefused(Load("1"), "control group /web is limited to 0.5 CPU");
  world_.host.values["/web cpu:cpu.max"] = "max 100000";
  EXPECT_TRUE(controller().Validate(Load("1")).ok());
}

TEST_F(CpuLoadTest, MoreThanItsCpusetIsRefused) {
  world_.host.values["/web cpuset:cpuset.effective_cpus"] = "1";
  ExpectRefused(Load("2"), "may run on CPU 1 alone, so it cannot use 2; ask for at most 1");
  world_.host.cpu_version = "v2";
  world_.host.values["/web cpuset:cpuset.cpus.effective"] = "0-1,3";
  EXPECT_TRUE(controller().Validate(Load("3")).ok());
  ExpectRefused(Load("3.5"), "may run on CPU 0-1,3 alone");
}

TEST_F(CpuLoadTest, TheHelperIsToldWhatToDo_AndGetsTheGroupsUsage) {
  const auto started = controller().Start(Load("1.25"));
  ASSERT_TRUE(started.ok()) << started.status();
  const HelperOrder& order = world_.host.last_order;
  EXPECT_EQ(order.program, "faultline-load");
  EXPECT_THAT(order.arguments, ElementsAre("--fault", "a", "--mcpus", "1250"));
  EXPECT_EQ(order.feed, "/cpuacct/web/cpuacct.usage");
  const std::set<std::string>& homes = world_.host.homes.begin()->second;
  EXPECT_THAT(homes, ElementsAre("cpu /web", "cpuacct /web"));
  world_.host.burnt_ns = 7;
  world_.Pass(kNsPerSecond);
  const v1::FaultState state = world_.Find("a");
  ASSERT_EQ(state.dose_size(), 2);
  EXPECT_EQ(state.dose(0).name(), "burnt_ns");
  EXPECT_EQ(state.dose(0).value(), 7);
  EXPECT_FALSE(state.dose(0).gauge());
  EXPECT_EQ(state.dose(1).name(), "group_cpus");
  EXPECT_TRUE(state.dose(1).gauge());
}

TEST_F(CpuLoadTest, OnV2ItReadsCpuStat_AndFollowsItsShape) {
  world_.host.cpu_version = "v2";
  v1::FaultSpec spec = Load("0.5");
  spec.mutable_shape()->set_kind(v1::SHAPE_KIND_PULSE);
  spec.mutable_shape()->set_on_ns(300 * kNsPerMs);
  spec.mutable_shape()->set_off_ns(700 * kNsPerMs);
  const auto started = controller().Start(spec);
  ASSERT_TRUE(started.ok()) << started.status();
  const HelperOrder& order = world_.host.last_order;
  EXPECT_THAT(order.arguments, ElementsAre("--fault", "a", "--mcpus", "500", "--start",
                                           absl::StrCat(started->start_boottime_ns()), "--on",
                                           "300000000", "--off", "700000000"));
  EXPECT_EQ(order.feed, "/cpu/web/cpu.stat");
  EXPECT_THAT(world_.host.homes.begin()->second, ElementsAre("cpu /web"));
}

TEST_F(CpuLoadTest, InAV1CpusetItJoinsThat) {
  world_.host.values["/web cpuset:cpuset.cpus"] = "0";
  world_.host.values["/web cpuset:cpuset.mems"] = "0";
  ASSERT_TRUE(controller().Start(Load("0.5")).ok());
  EXPECT_THAT(world_.host.homes.begin()->second,
              ElementsAre("cpu /web", "cpuacct /web", "cpuset /web"));
}

TEST_F(CpuLoadTest, TwoOnOneGroupAreRefused_ALeakBesideIsNot) {
  ASSERT_TRUE(controller().Start(Load("0.5")).ok());
  ExpectRefused(Load("0.2", "/web", "b"), "fault a (cpu.load, until ");
  EXPECT_TRUE(controller().Start(ControllerWorld::Spec("mem.leak", "c")).ok());
}

// Helpers of two faults do not keep a target alive for each other.
TEST_F(CpuLoadTest, EndsWhenOnlyHelpersAreLeft) {
  world_.host.cpu_version = "v2";
  world_.host.values["/web memory:memory.max"] = "max";
  world_.host.values["/web memory:memory.current"] = "1000000";
  ASSERT_TRUE(controller().Start(Load("0.5")).ok());
  ASSERT_TRUE(controller().Start(ControllerWorld::Spec("mem.leak", "b")).ok());
  world_.host.homes.rbegin()->second.insert("cpu /web");
  world_.Pass(kNsPerSecond);
  world_.host.empty.insert("/web");
  world_.Pass(kNsPerSecond);
  EXPECT_EQ(world_.Find("a").phase(), v1::PHASE_INTERFERED);
  EXPECT_THAT(world_.Find("a").reason(),
              HasSubstr("the target ended: no process but the helper is left in "));
  EXPECT_TRUE(world_.host.helpers.empty());
}

TEST_F(CpuLoadTest, TheDoseOfAKilledHelperIsALowerBound) {
  ASSERT_TRUE(controller().Start(Load("0.5")).ok());
  world_.host.burnt_ns = 7;
  world_.Pass(kNsPerSecond);
  world_.host.KillHelper(world_.host.helpers.begin()->first);
  world_.Pass(kNsPerSecond);
  const v1::FaultState state = world_.Find("a");
  EXPECT_EQ(state.phase(), v1::PHASE_INTERFERED);
  EXPECT_FALSE(state.dose_complete());
  EXPECT_THAT(state.reason(), HasSubstr("lower bound, of at most 250ms before the end: the helper "
                                        "was killed before it could tell the rest"));
}

TEST_F(CpuLoadTest, WithoutItsProgramItIsMissing) {
  world_.host.no_programs.insert("faultline-load");
  const v1::Capabilities capabilities = controller().GetCapabilities();
  for (const v1::FaultInfo& info : capabilities.faults()) {
    // This machine has no io controller either.
    if (info.type() == "io.limit") continue;
    EXPECT_EQ(info.availability() == v1::AVAILABILITY_MISSING, info.type() == "cpu.load")
        << info.type();
  }
  ExpectRefused(Load("0.5"), "faultline-load is not there");
}

}  // namespace
}  // namespace faultline
