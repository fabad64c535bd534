// SPDX-License-Identifier: Apache-2.0
//
// cpu.limit: where its touches come from, with the programs that see the run queues and without.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "tests/injector/controller_fixture.h"

namespace faultline {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr char kWatched[] = "watch of /web\n";

class CpuLimitTest : public ::testing::Test {
 protected:
  // A fault on /web, since `begin_ns_`.
  void Start() {
    ASSERT_TRUE(world_.controller->Start(ControllerWorld::Spec("cpu.limit", "a")).ok());
    begin_ns_ = world_.clock.Now().boottime_ns;
  }
  // What the programs see: so many holds and releases, the first and the last at these ns after
  // the begin.
  void See(std::int64_t first_ns, std::int64_t last_ns, std::uint64_t holds,
           std::uint64_t releases) {
    world_.host.throttle = {.first_ns = static_cast<std::uint64_t>(begin_ns_ + first_ns),
                            .last_ns = static_cast<std::uint64_t>(begin_ns_ + last_ns),
                            .holds = holds,
                            .releases = releases};
  }
  // What cpu.stat counts.
  void Throttle(std::int64_t ns, std::int64_t periods) {
    world_.host.throttled_ns = ns;
    world_.host.throttled_periods = periods;
  }
  v1::Edges Edges() const { return world_.Find("a").edges(); }

  // One poll, 10 ms until the first touch, and one period.
  static constexpr std::int64_t kReadErrorNs = 110 * kNsPerMs;

  ControllerWorld world_;
  std::int64_t begin_ns_ = 0;
};

TEST_F(CpuLimitTest, TouchesAreWhatTheProgramsSaw_TheDoseIsOfCpuStat) {
  Start();
  EXPECT_THAT(world_.host.Digest(), HasSubstr(kWatched));
  world_.Pass(95 * kNsPerMs);
  EXPECT_EQ(Edges().first_touch().boottime_ns(), 0);
  See(42 * kNsPerMs, 93 * kNsPerMs, 1, 1);
  Throttle(40'000'000, 1);
  world_.Pass(10 * kNsPerMs);
  const v1::FaultState state = world_.Find("a");
  EXPECT_EQ(state.edges().first_touch().boottime_ns(), begin_ns_ + 42 * kNsPerMs);
  EXPECT_EQ(state.edges().first_touch().error_ns(), 0);
  EXPECT_EQ(state.edges().last_touch().boottime_ns(), begin_ns_ + 93 * kNsPerMs);
  EXPECT_EQ(state.edges().last_touch().error_ns(), 0);
  ASSERT_EQ(state.dose_size(), 2);
  EXPECT_EQ(state.dose(0).value(), 40'000'000);
  EXPECT_EQ(state.dose(1).value(), 1);
}

TEST_F(CpuLimitTest, CpuStatAloneIsNoTouch_WhereProgramsLook) {
  Start();
  // A queue without a task in it is throttled and counted, and holds nobody back.
  Throttle(40'000'000, 1);
  world_.Pass(kNsPerSecond);
  EXPECT_EQ(world_.Find("a").dose(0).value(), 40'000'000);
  EXPECT_EQ(Edges().first_touch().boottime_ns(), 0);
  EXPECT_EQ(Edges().last_touch().boottime_ns(), 0);
}

TEST_F(CpuLimitTest, TheLastTouchGoesOn_WhileARunQueueHoldsATask) {
  Start();
  See(kNsPerMs, 500 * kNsPerMs, 8, 7);
  world_.Pass(2 * kNsPerSecond);
  // The last read was at most 100 ms ago.
  EXPECT_GE(Edges().last_touch().boottime_ns(), begin_ns_ + 1'900 * kNsPerMs);
  See(kNsPerMs, 2'010 * kNsPerMs, 8, 8);
  world_.Pass(kNsPerSecond);
  EXPECT_EQ(Edges().last_touch().boottime_ns(), begin_ns_ + 2'010 * kNsPerMs);
}

TEST_F(CpuLimitTest, TheUndoIsTheLastTouch_OfATaskThatItLetsGo) {
  Start();
  See(kNsPerMs, 500 * kNsPerMs, 8, 7);
  world_.Pass(3 * kNsPerSecond);
  // The clock goes on while the undo waits for the kernel.
  world_.host.on_step = [this](const std::string& /*step*/) {
    world_.clock.Advance(kNsPerMs);
    return absl::OkStatus();
  };
  const auto stopped = world_.controller->Stop("a");
  ASSERT_TRUE(stopped.ok());
  EXPECT_GT(stopped->edges().undone().boottime_ns(), begin_ns_ + 3 * kNsPerSecond);
  EXPECT_EQ(stopped->edges().last_touch().boottime_ns(), stopped->edges().undone().boottime_ns());
  EXPECT_THAT(world_.host.Digest(), Not(HasSubstr(kWatched)));
}

TEST_F(CpuLimitTest, ReadsTheTouchesFromCpuStat_AndSaysSo_WhereTheKernelTakesNoPrograms) {
  world_.host.no_programs.insert("throttle");
  const auto plan = world_.controller->Validate(ControllerWorld::Spec("cpu.limit", ""));
  ASSERT_TRUE(plan.ok());
  ASSERT_EQ(plan->changes_size(), 2);
  ASSERT_EQ(plan->notes_size(), 1);
  EXPECT_EQ(plan->notes(0),
            "first_touch and last_touch are read from cpu.stat, up to a period and a read late: "
            "throttle is not there");
  Start();
  EXPECT_THAT(world_.host.Digest(), Not(HasSubstr(kWatched)));
  world_.Pass(95 * kNsPerMs);
  Throttle(40'000'000, 1);
  world_.Pass(10 * kNsPerMs);
  EXPECT_EQ(Edges().first_touch().boottime_ns(), begin_ns_ + 100 * kNsPerMs);
  EXPECT_EQ(Edges().first_touch().error_ns(), kReadErrorNs);
}

TEST_F(CpuLimitTest, ReadsTheTouchesFromCpuStat_WhereNothingCanBeAttached) {
  world_.host.attaches_watch = false;
  Start();
  world_.Pass(95 * kNsPerMs);
  Throttle(40'000'000, 1);
  world_.Pass(10 * kNsPerMs);
  EXPECT_EQ(Edges().first_touch().boottime_ns(), begin_ns_ + 100 * kNsPerMs);
  EXPECT_EQ(Edges().first_touch().error_ns(), kReadErrorNs);
}

// The programs ended with their process, and the quota went on without them.
TEST_F(CpuLimitTest, AfterADeath_TheLastTouchIsOfCpuStat) {
  Start();
  See(42 * kNsPerMs, 93 * kNsPerMs, 1, 1);
  Throttle(40'000'000, 1);
  world_.Pass(2 * kNsPerSecond);
  world_.Crash();
  EXPECT_THAT(world_.host.Digest(), Not(HasSubstr(kWatched)));
  world_.clock.Advance(20 * kNsPerSecond);
  Throttle(90'000'000, 3);
  const std::int64_t now_ns = world_.clock.Now().boottime_ns;
  world_.Boot();
  const v1::FaultState state = world_.Find("a");
  EXPECT_EQ(state.reason(), "the injector died");
  EXPECT_TRUE(state.dose_complete());
  EXPECT_EQ(state.dose(0).value(), 90'000'000);
  EXPECT_EQ(state.edges().first_touch().boottime_ns(), begin_ns_ + 42 * kNsPerMs);
  EXPECT_EQ(state.edges().first_touch().error_ns(), 0);
  EXPECT_EQ(state.edges().last_touch().boottime_ns(), now_ns);
  EXPECT_GE(state.edges().last_touch().error_ns(), 20 * kNsPerSecond);
}

// It ended while nobody looked, when somebody else took the quota away.
TEST_F(CpuLimitTest, AfterADeath_AQuotaThatIsGoneIsOver) {
  v1::FaultSpec spec = ControllerWorld::Spec("cpu.limit", "a");
  (*spec.mutable_parameters())["period"] = "50ms";
  const std::map<std::string, std::string> values = world_.host.values;
  ASSERT_TRUE(world_.controller->Start(spec).ok());
  begin_ns_ = world_.clock.Now().boottime_ns;
  world_.Pass(2 * kNsPerSecond);
  world_.Crash();
  world_.host.values = values;
  world_.clock.Advance(20 * kNsPerSecond);
  world_.Boot();
  const v1::FaultState state = world_.Find("a");
  const v1::Edge& undone = state.edges().undone();
  EXPECT_LE(undone.boottime_ns() - undone.error_ns(), begin_ns_ + 2 * kNsPerSecond);
}

}  // namespace
}  // namespace faultline
