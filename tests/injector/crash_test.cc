// SPDX-License-Identifier: Apache-2.0
//
// The injector may die anywhere; whoever comes next finds the host as it was.
#include <gtest/gtest.h>

#include <map>

#include "absl/strings/str_join.h"
#include "base/log.h"
#include "tests/injector/controller_fixture.h"
#include "tests/injector/history.h"

namespace faultline {
namespace {

// Whether it worked is not the point here.
void Ignore(const absl::Status& /*status*/) {}

// Every fault on a control group, and each way in which sham is made there; those on a unit are in
// host/unit_value_test.cc.
std::vector<v1::FaultSpec> EverySpec() {
  std::vector<v1::FaultSpec> specs;
  for (const std::string& type : HistoryTypes()) specs.push_back(ControllerWorld::Spec(type, "a"));
  for (const char* mechanism : {"freezer", "process", "helper", "link", "plane"}) {
    specs.push_back(ControllerWorld::Sham(mechanism, "a"));
  }
  specs.push_back(ControllerWorld::Spec("cpu.limit", "a"));
  (*specs.back().mutable_parameters())["period"] = "50ms";
  for (const char* type : {"io.limit", "net.rate"}) {
    specs.push_back(ControllerWorld::Spec(type, "a"));
    specs.back().mutable_shape()->set_kind(v1::SHAPE_KIND_RAMP);
    specs.back().mutable_shape()->set_ramp_ns(300 * kNsPerMs);
  }
  // A pulse that begins later.
  for (const char* type : {"cpu.limit", "cpu.load", "process.pause", "process.kill", "mem.leak",
                           "mem.limit", "io.limit", "net.loss", "net.rate", "net.delay"}) {
    specs.push_back(ControllerWorld::Spec(type, "a"));
    v1::Shape& shape = *specs.back().mutable_shape();
    shape.set_kind(v1::SHAPE_KIND_PULSE);
    shape.set_on_ns(300 * kNsPerMs);
    shape.set_off_ns(400 * kNsPerMs);
    specs.back().set_start_delay_ns(1'500 * kNsPerMs);
  }
  return specs;
}

// The life of a fault, from the command to the undo; one step after the other may be its last.
void Live(ControllerWorld& world, const v1::FaultSpec& spec) {
  Ignore(world.controller->Start(spec).status());
  if (!world.dead()) world.Pass(3 * kNsPerSecond);
  if (!world.dead()) Ignore(world.controller->Stop(spec.id()).status());
}

// White box: a kill before and after each change, and before each answer, of plan, apply, read-back
// and undo. None is left out (but by sanitizers), as the steps are counted up until a life ends
// without one.
TEST(Crash, AtEveryStep_IsUndoneByTheNextProcess) {
  for (const v1::FaultSpec& spec : EverySpec()) {
    std::map<std::string, int> visited;
    bool reached = true;
    for (int step = 0; reached; step += kNextStep) {
      ControllerWorld world;
      const std::string before = world.host.Digest();
      world.DieAtStep(step);
      Live(world, spec);
      reached = world.dead();
      if (reached) ++visited[world.last_step()];
      world.Crash();
      world.Boot();
      ASSERT_EQ(world.host.Digest(), before) << spec.ShortDebugString() << " died at step " << step;
      ASSERT_EQ(world.controller->List(true).faults_size(), 0);
    }
    // Before and after one change of apply and one of undo at least; sham's undo finds its value
    // as it was.
    if (kNextStep > 1) continue;
    EXPECT_GE(visited["change"], spec.type() == "sham" ? 2 : 4) << spec.ShortDebugString();
    EXPECT_GE(visited["read"], 2) << spec.ShortDebugString();
  }
}

// The undo after a crash may die too, at each of its own steps.
TEST(Crash, DuringRecovery_IsUndoneByTheOneAfter) {
  for (const v1::FaultSpec& spec : EverySpec()) {
    bool reached = true;
    for (int step = 0; reached; ++step) {
      ControllerWorld world;
      const std::string before = world.host.Digest();
      ASSERT_TRUE(world.controller->Start(spec).ok());
      ASSERT_TRUE(world.controller->Start(ControllerWorld::Spec("mem.leak", "b", "/db")).ok());
      world.Crash();
      world.DieAtStep(step);
      world.Boot();
      reached = world.dead();
      world.Crash();
      world.Boot();
      ASSERT_EQ(world.host.Digest(), before) << spec.ShortDebugString() << " died at step " << step;
      ASSERT_EQ(world.controller->List(true).faults_size(), 0);
    }
  }
}

// Each call fails for good at one step, after its effect or before: whatever the command says, the
// host is as before in the end.
TEST(Crash, AFailureAtEveryStep_IsUndone) {
  for (const v1::FaultSpec& spec : EverySpec()) {
    bool reached = true;
    for (int step = 0; reached; step += kNextStep) {
      ControllerWorld world;
      const std::string before = world.host.Digest();
      world.host.on_step = [left = step, &reached](const std::string& /*step*/) mutable {
        reached = left-- <= 0;
        return reached && left == -1 ? absl::UnavailableError("fails for once") : absl::OkStatus();
      };
      reached = false;
      Live(world, spec);
      world.host.on_step = nullptr;
      world.Pass(20 * kNsPerSecond);
      ASSERT_EQ(world.host.Digest(), before) << spec.ShortDebugString() << " failed at " << step;
      ASSERT_EQ(world.controller->List(true).faults_size(), 0);
    }
  }
}

// 20,000 in all, in parts that run beside each other; ./run bench histories has a million. The
// sanitizers see a tenth of them, as each takes them five times as long.
#ifdef __SANITIZE_ADDRESS__
constexpr std::uint64_t kHistories = 500;
#else
constexpr std::uint64_t kHistories = 5'000;
#endif
constexpr int kEvents = 16;

class Histories : public ::testing::TestWithParam<std::uint64_t> {};

TEST_P(Histories, EndWithTheHostAsItWas) {
  SetLogThreshold(Severity::kError);
  History::Counts sum;
  const std::uint64_t first = GetParam() * kHistories + 1;
  for (std::uint64_t seed = first; seed < first + kHistories; ++seed) {
    History history(seed);
    const std::vector<std::string> wrong = history.Run(kEvents);
    ASSERT_TRUE(wrong.empty()) << "seed " << seed << ": " << absl::StrJoin(wrong, "\n");
    sum.started += history.counts().started;
    sum.crashes += history.counts().crashes;
    sum.failed_calls += history.counts().failed_calls;
    sum.lost_calls += history.counts().lost_calls;
    sum.leased += history.counts().leased;
    sum.stopped += history.counts().stopped;
  }
  SetLogThreshold(Severity::kInfo);
  // A history in which nothing happens proves nothing. The mean one starts 3.4 faults, dies 1.6
  // times, and has 5.3 calls that fail, 0.4 that are lost, 0.45 leased faults and 0.06 that a stop
  // condition ends.
  EXPECT_GT(sum.started, static_cast<std::int64_t>(kHistories));
  EXPECT_GT(sum.crashes, static_cast<std::int64_t>(kHistories));
  EXPECT_GT(sum.failed_calls, static_cast<std::int64_t>(kHistories));
  EXPECT_GT(sum.lost_calls, static_cast<std::int64_t>(kHistories) / 4);
  EXPECT_GT(sum.leased, static_cast<std::int64_t>(kHistories) / 4);
  EXPECT_GT(sum.stopped, static_cast<std::int64_t>(kHistories) / 40);
}

INSTANTIATE_TEST_SUITE_P(Parts, Histories, ::testing::Range<std::uint64_t>(0, 4));

}  // namespace
}  // namespace faultline
