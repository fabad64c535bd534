// SPDX-License-Identifier: Apache-2.0
//
// The lease of a node: what it takes, and that no fault which came through the collector outlives
// it.
#include "injector/lease.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/injector/controller_fixture.h"

namespace faultline {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

v1::LeaseRequest Renewal(std::int64_t ttl_ns, const std::vector<std::string>& collector = {}) {
  v1::LeaseRequest request;
  request.set_ttl_ns(ttl_ns);
  for (const std::string& address : collector) request.add_collector(address);
  return request;
}

TEST(Lease, StandsAsLongAsItSays_AndNoLongerThan15s) {
  Lease lease;
  EXPECT_FALSE(lease.InForce(0));
  EXPECT_EQ(lease.Renew(Renewal(9 * kNsPerSecond), 100)->until_boottime_ns(),
            9 * kNsPerSecond + 100);
  EXPECT_TRUE(lease.InForce(9 * kNsPerSecond));
  EXPECT_FALSE(lease.InForce(9 * kNsPerSecond + 100));
  EXPECT_EQ(lease.Renew(Renewal(3600 * kNsPerSecond), 200)->until_boottime_ns(),
            15 * kNsPerSecond + 200);
  // Overtaken on its way.
  EXPECT_EQ(lease.Renew(Renewal(kNsPerSecond), 300)->until_boottime_ns(), 15 * kNsPerSecond + 200);
}

// An injector that was stopped reads what the agent sent before.
TEST(Lease, CountsFromWhenItWasSent) {
  Lease lease;
  v1::LeaseRequest late = Renewal(9 * kNsPerSecond);
  late.set_from_boottime_ns(20 * kNsPerSecond);
  EXPECT_EQ(lease.Renew(late, 26 * kNsPerSecond)->until_boottime_ns(), 29 * kNsPerSecond);
  EXPECT_EQ(lease.heard_ns(), 20 * kNsPerSecond);
  late.set_from_boottime_ns(21 * kNsPerSecond);
  EXPECT_EQ(lease.Renew(late, 60 * kNsPerSecond)->until_boottime_ns(), 30 * kNsPerSecond);
  EXPECT_FALSE(lease.InForce(60 * kNsPerSecond));
  // Of the future it cannot be.
  late.set_from_boottime_ns(600 * kNsPerSecond);
  EXPECT_EQ(lease.Renew(late, 61 * kNsPerSecond)->until_boottime_ns(), 70 * kNsPerSecond);
}

TEST(Lease, TakesAddressesOnly) {
  Lease lease;
  for (const char* wrong : {"", "web:7443", "10.0.0.7", "10.0.0.0/8:7443", "10.0.0.7:1-9",
                            "10.0.0.7:7443/tcp", ":7443", "[fd00::7]", "10.0.0.7:70000"}) {
    const auto renewed = lease.Renew(Renewal(kNsPerSecond, {wrong}), 0);
    EXPECT_TRUE(absl::IsInvalidArgument(renewed.status())) << wrong;
  }
  const std::string long_text(1000, '1');
  EXPECT_FALSE(lease.Renew(Renewal(kNsPerSecond, {long_text}), 0).ok());
  EXPECT_FALSE(lease.Renew(Renewal(0, {"10.0.0.7:7443"}), 0).ok());
  const std::vector<std::string> five(5, "10.0.0.7:7443");
  EXPECT_FALSE(lease.Renew(Renewal(kNsPerSecond, five), 0).ok());
  EXPECT_FALSE(lease.InForce(0));
  EXPECT_FALSE(lease.knows_collector());

  ASSERT_TRUE(lease.Renew(Renewal(kNsPerSecond, {"10.0.0.7:7443", "[fd00::7]:7443"}), 0).ok());
  const std::vector<v1::PeerFilter> collectors = lease.collectors();
  ASSERT_EQ(collectors.size(), 2u);
  EXPECT_EQ(collectors[0].cidr(), "10.0.0.7/32");
  EXPECT_EQ(collectors[0].port_first(), 7443u);
  EXPECT_EQ(collectors[1].cidr(), "fd00::7/128");
  EXPECT_EQ(collectors[1].protocol(), "tcp");
  // Nothing new is told of it.
  ASSERT_TRUE(lease.Renew(Renewal(kNsPerSecond), 0).ok());
  EXPECT_EQ(lease.collectors().size(), 2u);
  // On this host there is no packet to spare.
  ASSERT_TRUE(lease.Renew(Renewal(kNsPerSecond, {"unix:/run/collector"}), 0).ok());
  EXPECT_TRUE(lease.collectors().empty());
  EXPECT_TRUE(lease.knows_collector());
}

TEST(Lease, WhatCannotBeReadOfItsFile_IsNotKnown) {
  const std::string file =
      ::testing::TempDir() + "faultline-lease-collector-" + std::to_string(::getpid());
  std::ofstream(file) << "10.0.0.7:7443\nnonsense\n";
  EXPECT_FALSE(Lease(file).knows_collector());
  std::ofstream(file) << "10.0.0.7:7443\n";
  EXPECT_TRUE(Lease(file).knows_collector());
  EXPECT_FALSE(Lease(file).InForce(0));
  EXPECT_FALSE(Lease(file + ".none").knows_collector());
  std::filesystem::remove(file);
}

TEST(Lease, TellsAKeeperUntilWhenItStands) {
  const std::string file =
      ::testing::TempDir() + "faultline-lease-term-" + std::to_string(::getpid());
  std::ofstream(file) << "7\n";
  Lease lease("", file);
  EXPECT_EQ(Lease::ReadTerm(file), INT64_MAX);
  ASSERT_TRUE(lease.Renew(Renewal(9 * kNsPerSecond), 100).ok());
  EXPECT_EQ(Lease::ReadTerm(file), 9 * kNsPerSecond + 100);
  // Overtaken on its way.
  ASSERT_TRUE(lease.Renew(Renewal(kNsPerSecond), 200).ok());
  EXPECT_EQ(Lease::ReadTerm(file), 9 * kNsPerSecond + 100);
  ASSERT_TRUE(lease.Renew(Renewal(3600 * kNsPerSecond), 300).ok());
  EXPECT_EQ(Lease::ReadTerm(file), 15 * kNsPerSecond + 300);
  // What cannot be written must not leave an old end behind.
  std::filesystem::create_directory(file + ".new");
  ASSERT_TRUE(lease.Renew(Renewal(9 * kNsPerSecond), 20 * kNsPerSecond).ok());
  EXPECT_EQ(Lease::ReadTerm(file), INT64_MAX);
  EXPECT_EQ(lease.until_ns(), 29 * kNsPerSecond);
  std::filesystem::remove(file + ".new");
  std::ofstream(file) << "nonsense\n";
  EXPECT_EQ(Lease::ReadTerm(file), INT64_MAX);
  std::filesystem::remove(file);
}

class LeasedFaults : public ::testing::Test {
 protected:
  LeasedFaults() : before_(world_.host.Digest()) {}
  static v1::FaultSpec Spec(const std::string& id, const std::string& type = "cpu.limit") {
    v1::FaultSpec spec = ControllerWorld::Spec(type, id);
    spec.set_duration_ns(600 * kNsPerSecond);
    return spec;
  }
  Controller& controller() { return *world_.controller; }
  void Renew() {
    ASSERT_TRUE(controller().RenewLease(Renewal(9 * kNsPerSecond, {"10.0.0.7:7443"})).ok());
  }

  ControllerWorld world_;
  const std::string before_;
};

TEST_F(LeasedFaults, LiveAsLongAsTheCollectorIsHeardOf) {
  Renew();
  const auto started = controller().Start(Spec("a"), /*leased=*/true);
  ASSERT_TRUE(started.ok()) << started.status();
  EXPECT_TRUE(started->leased());
  for (int i = 0; i < 20; ++i) {
    world_.Pass(3 * kNsPerSecond);
    Renew();
  }
  EXPECT_EQ(world_.Find("a").phase(), v1::PHASE_VERIFIED);
  // The last word of a collector was the one above: this is what its death looks like here, and
  // that of the agent, and a link that is cut without a word.
  const std::int64_t lost_ns = world_.clock.Now().boottime_ns;
  world_.Pass(60 * kNsPerSecond);
  const v1::FaultState ended = world_.Find("a");
  EXPECT_EQ(ended.phase(), v1::PHASE_UNDONE);
  EXPECT_EQ(ended.reason(),
            "the collector was not heard of for 9s, and it came through the collector");
  EXPECT_EQ(ended.edges().undone().boottime_ns() - lost_ns, 9 * kNsPerSecond);
  EXPECT_TRUE(ended.leased());
  EXPECT_EQ(world_.host.Digest(), before_);
}

TEST_F(LeasedFaults, EndWithin15s_WhateverTheLeaseSaid) {
  ASSERT_TRUE(controller().RenewLease(Renewal(3600 * kNsPerSecond, {"10.0.0.7:7443"})).ok());
  const std::int64_t lost_ns = world_.clock.Now().boottime_ns;
  for (const char* id : {"a", "b"}) {
    const std::string type = id[0] == 'a' ? "cpu.limit" : "net.loss";
    ASSERT_TRUE(controller().Start(Spec(id, type), true).ok());
  }
  world_.Pass(60 * kNsPerSecond);
  for (const char* id : {"a", "b"}) {
    EXPECT_LE(world_.Find(id).edges().undone().boottime_ns() - lost_ns, 15 * kNsPerSecond) << id;
    EXPECT_EQ(world_.Find(id).phase(), v1::PHASE_UNDONE) << id;
  }
  EXPECT_EQ(world_.host.Digest(), before_);
}

TEST_F(LeasedFaults, RootsOwnGoOn) {
  Renew();
  ASSERT_TRUE(controller().Start(Spec("root")).ok());
  EXPECT_FALSE(world_.Find("root").leased());
  world_.Pass(60 * kNsPerSecond);
  EXPECT_EQ(world_.Find("root").phase(), v1::PHASE_VERIFIED);
}

TEST_F(LeasedFaults, NeedALeaseToBegin) {
  for (const bool start : {true, false}) {
    const absl::Status refused = start ? controller().Start(Spec("a"), true).status()
                                       : controller().Validate(Spec("b"), true).status();
    EXPECT_TRUE(absl::IsFailedPrecondition(refused));
    EXPECT_THAT(std::string(refused.message()),
                AllOf(HasSubstr("ends when the collector is gone, so it needs one, and none was "
                                "heard of since this injector started"),
                      HasSubstr("set autonomous")));
  }
  Renew();
  world_.Pass(12 * kNsPerSecond);
  const auto late = controller().Start(Spec("c"), true);
  EXPECT_THAT(std::string(late.status().message()), HasSubstr("not heard of for 12s"));
  Renew();
  EXPECT_TRUE(controller().Start(Spec("d"), true).ok());
}

TEST_F(LeasedFaults, Autonomous_NeedsNoneAndEndsWithNone) {
  world_.autonomous = true;
  world_.Crash();
  world_.Boot();
  ASSERT_TRUE(controller().Start(Spec("a"), true).ok());
  world_.Pass(60 * kNsPerSecond);
  EXPECT_EQ(world_.Find("a").phase(), v1::PHASE_VERIFIED);
  EXPECT_FALSE(world_.Find("a").leased());
  EXPECT_TRUE(controller().GetCapabilities().limits().autonomous());
}

TEST_F(LeasedFaults, WhatARunHolds_IsNone) {
  v1::FaultSpec hold = ControllerWorld::Spec("hold.controllers", "h");
  hold.set_duration_ns(600 * kNsPerSecond);
  const auto started = controller().Start(hold, true);
  ASSERT_TRUE(started.ok()) << started.status();
  EXPECT_FALSE(started->leased());
  world_.Pass(60 * kNsPerSecond);
  EXPECT_EQ(world_.Find("h").phase(), v1::PHASE_VERIFIED);
}

TEST_F(LeasedFaults, OfTheNetwork_NeedTheCollectorsAddress_AndSpareIt) {
  ASSERT_TRUE(controller().RenewLease(Renewal(9 * kNsPerSecond)).ok());
  const auto blind = controller().Start(Spec("a", "net.loss"), true);
  EXPECT_TRUE(absl::IsFailedPrecondition(blind.status()));
  EXPECT_THAT(std::string(blind.status().message()),
              HasSubstr("net.loss must not cut the node off its collector"));
  EXPECT_TRUE(controller().Start(Spec("b"), true).ok());
  Renew();
  const auto plan = controller().Validate(Spec("c", "net.loss"), true);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(plan->notes(), ::testing::Contains(HasSubstr("packets of 10.0.0.7/32:7443/tcp are "
                                                           "not met")));
  // After the lease too, and of root's faults as well.
  world_.Pass(60 * kNsPerSecond);
  EXPECT_THAT(controller().Validate(Spec("d", "net.loss"))->notes(),
              ::testing::Contains(HasSubstr("10.0.0.7/32:7443/tcp")));
  EXPECT_THAT(controller().GetCapabilities().limits().exempt(),
              ::testing::ElementsAre("10.0.0.7/32:7443/tcp"));
}

// Root may begin one before the agent has told the new injector anything.
TEST_F(LeasedFaults, TheCollectorIsSparedAfterARestartToo) {
  Renew();
  world_.Crash();
  world_.Boot();
  EXPECT_THAT(controller().Validate(Spec("a", "net.loss"))->notes(),
              ::testing::Contains(HasSubstr("10.0.0.7/32:7443/tcp")));
  // But nobody stands behind a fault yet.
  EXPECT_FALSE(controller().Start(Spec("b"), true).ok());
}

TEST_F(LeasedFaults, EndAtARestartLikeOthers) {
  Renew();
  ASSERT_TRUE(controller().Start(Spec("a"), true).ok());
  world_.Crash();
  world_.Boot();
  EXPECT_EQ(world_.Find("a").phase(), v1::PHASE_UNDONE);
  EXPECT_TRUE(world_.Find("a").leased());
  EXPECT_EQ(world_.host.Digest(), before_);
}

// It is made ready a second ahead; what was allowed then has to be allowed still.
TEST(Lease, OneThatEndsRightBeforeTheStart_LetsNothingBegin) {
  ControllerWorld world;
  const std::string before = world.host.Digest();
  ASSERT_TRUE(world.controller->RenewLease(Renewal(4'500 * kNsPerMs)).ok());
  v1::FaultSpec spec = ControllerWorld::Spec("cpu.limit", "a");
  spec.set_start_delay_ns(5 * kNsPerSecond);
  ASSERT_TRUE(world.controller->Start(spec, true).ok());
  world.Pass(6 * kNsPerSecond);
  EXPECT_EQ(world.Find("a").phase(), v1::PHASE_REFUSED);
  EXPECT_THAT(world.Find("a").reason(), HasSubstr("the collector was not heard of"));
  EXPECT_EQ(world.host.Digest(), before);
}

}  // namespace
}  // namespace faultline
