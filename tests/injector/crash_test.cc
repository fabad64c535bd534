// SPDX-License-Identifier: Apache-2.0
//
// The injector may die anywhere; whoever comes next finds the host as it was.
#include <gtest/gtest.h>

#include <random>

#include "proto/words.h"
#include "tests/fault_edges.h"
#include "tests/injector/controller_fixture.h"

namespace faultline {
namespace {

constexpr const char* kTypes[] = {"cpu.limit", "process.pause", "mem.leak", "net.loss", "sham"};
constexpr int kTypeCount = 5;

// Whether it worked is not the point here.
void Ignore(const absl::Status& /*status*/) {}

// Every step of a fault's life, one crash each: during Start, while it runs, during undo.
TEST(Crash, AtEveryStep_IsUndoneByTheNextProcess) {
  for (const char* type : kTypes) {
    bool reached = true;
    for (int step = 0; reached; ++step) {
      ControllerWorld world;
      const std::string before = world.host.Digest();
      world.DieAtStep(step);
      Ignore(world.controller->Start(world.Spec(type, "a")).status());
      if (!world.dead()) world.Pass(3 * kNsPerSecond);
      if (!world.dead()) [[maybe_unused]]
        const auto stopped = world.controller->Stop("a");
      reached = world.dead();
      world.Crash();
      world.Boot();
      ASSERT_EQ(world.host.Digest(), before) << type << " died at step " << step;
      ASSERT_EQ(world.controller->List(true).faults_size(), 0);
    }
  }
}

// The undo after a crash may die too, at each of its own steps.
TEST(Crash, DuringRecovery_IsUndoneByTheOneAfter) {
  bool reached = true;
  for (int step = 0; reached; ++step) {
    ControllerWorld world;
    const std::string before = world.host.Digest();
    ASSERT_TRUE(world.controller->Start(world.Spec("cpu.limit", "a")).ok());
    ASSERT_TRUE(world.controller->Start(world.Spec("mem.leak", "b")).ok());
    world.Crash();
    world.DieAtStep(step);
    world.Boot();
    reached = world.dead();
    world.Crash();
    world.Boot();
    ASSERT_EQ(world.host.Digest(), before) << "died at step " << step;
    ASSERT_EQ(world.controller->List(true).faults_size(), 0);
  }
}

// What a random history expects of the host: what was there at first, or what somebody else last
// wrote.
class History {
 public:
  explicit History(unsigned seed) : random_(seed) {
    expected_ = world_.host.values;
    FailSometimes();
  }

  void Run(int events) {
    for (int i = 0; i < events; ++i) Event();
    // At rest: nothing fails any more and every deadline has passed.
    world_.host.on_step = nullptr;
    world_.Pass(100 * kNsPerSecond);
    EXPECT_EQ(world_.controller->List(true).faults_size(), 0);
    EXPECT_EQ(world_.host.values, expected_);
    EXPECT_TRUE(world_.host.helpers.empty());
    EXPECT_TRUE(world_.host.links.empty());
    const v1::ListResponse list = world_.controller->List(false);
    for (const v1::FaultState& state : list.faults()) {
      EXPECT_TRUE(IsFinal(state.phase()));
      ExpectEdgesInOrder(state);
      EXPECT_TRUE(state.residue().empty() || state.phase() == v1::PHASE_INTERFERED ||
                  state.phase() == v1::PHASE_FAILED)
          << state.ShortDebugString();
    }
  }

 private:
  int Roll(int sides) { return static_cast<int>(random_() % static_cast<unsigned>(sides)); }

  void FailSometimes() {
    world_.host.on_step = [this](const std::string& step) {
      return Roll(12) == 0 ? absl::UnavailableError(step + " fails for once") : absl::OkStatus();
    };
  }

  void Event() {
    switch (Roll(8)) {
      case 0:
      case 1:
      case 2:
        Start();
        break;
      case 3:
        Ignore(world_.controller->Stop(absl::StrCat("f", Roll(6))).status());
        break;
      case 4:
        world_.Pass((Roll(40) + 1) * kNsPerSecond / 4);
        break;
      case 5:
        Meddle();
        break;
      case 6:
        CrashSomewhere();
        break;
      case 7:
        if (Roll(4) == 0) [[maybe_unused]]
          const auto halted = world_.controller->Halt("test");
        if (Roll(2) == 0) [[maybe_unused]]
          const auto released = world_.controller->Release();
        break;
    }
  }

  void Start() {
    constexpr const char* kGroups[] = {"/web", "/db", "/web/worker"};
    v1::FaultSpec spec = ControllerWorld::Spec(kTypes[Roll(kTypeCount)], absl::StrCat("f", Roll(6)),
                                               kGroups[Roll(3)]);
    if (spec.type() == "sham" && Roll(2) == 0) {
      (*spec.mutable_parameters())["mechanism"] = Roll(2) == 0 ? "helper" : "link";
    }
    // Ids are few, so that repeats happen; finished ones make room.
    if (Roll(2) == 0) spec.set_id(absl::StrCat("g", serial_++));
    spec.set_duration_ns((Roll(20) + 1) * kNsPerSecond);
    Ignore(world_.controller->Start(spec).status());
  }

  // Somebody else writes a value of their own, which then is what has to stay.
  void Meddle() {
    const std::string key = Roll(2) == 0 ? "/web cpu:cpu.cfs_quota_us" : "/db cpu:cpu.cfs_quota_us";
    const std::string value = absl::StrCat(1'000'000 + serial_++);
    world_.host.values[key] = value;
    expected_[key] = value;
  }

  void CrashSomewhere() {
    world_.DieAtStep(Roll(20));
    for (int i = 0; i < 6 && !world_.dead(); ++i) Start();
    if (!world_.dead()) world_.Pass(kNsPerSecond);
    world_.Crash();
    world_.Boot();
    FailSometimes();
  }

  std::mt19937 random_;
  ControllerWorld world_;
  std::map<std::string, std::string> expected_;
  int serial_ = 0;
};

TEST(Crash, RandomHistories_EndWithTheHostAsItWas) {
  constexpr unsigned kHistories = 400;
  for (unsigned seed = 1; seed <= kHistories; ++seed) {
    SCOPED_TRACE(absl::StrCat("seed ", seed));
    History(seed).Run(40);
    if (::testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace faultline
