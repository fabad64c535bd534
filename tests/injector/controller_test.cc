// SPDX-License-Identifier: Apache-2.0
#include "injector/controller.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sqlite3.h>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "tests/injector/controller_fixture.h"

namespace faultline {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class ControllerTest : public ::testing::Test {
 protected:
  ControllerTest() : before_(world_.host.Digest()) {}

  static v1::FaultSpec Spec(const std::string& type, const std::string& id,
                            const std::string& cgroup = "/web") {
    return ControllerWorld::Spec(type, id, cgroup);
  }
  Controller& controller() { return *world_.controller; }

  // Fault "a" with a period of its own, so that each of its levers changes something.
  static v1::FaultSpec TwoValues() {
    v1::FaultSpec spec = Spec("cpu.limit", "a");
    (*spec.mutable_parameters())["period"] = "50ms";
    return spec;
  }

  // Fault "a" was interfered with, and its undo cannot be done before the process dies.
  void CrashWhileUndoingAnInterference() {
    ASSERT_TRUE(controller().Start(TwoValues()).ok());
    world_.host.on_step = [](const std::string& step) {
      return step == "change" ? absl::UnavailableError("not now") : absl::OkStatus();
    };
    world_.host.values["/web cpu:cpu.cfs_quota_us"] = "70000";
    world_.Pass(kNsPerSecond);
    ASSERT_EQ(world_.Find("a").phase(), v1::PHASE_UNDOING);
    world_.Crash();
  }

  // Fault "a" with one program.
  static v1::FaultSpec LossOfInbound() {
    v1::FaultSpec spec = Spec("net.loss", "a");
    (*spec.mutable_parameters())["direction"] = "in";
    return spec;
  }

  // Refused, in these words, and nothing was changed.
  void ExpectRefused(const v1::FaultSpec& spec, absl::StatusCode code, const std::string& says) {
    const std::string now = world_.host.Digest();
    v1::FaultSpec fresh = spec;
    fresh.set_id(absl::StrCat(spec.id(), ++refusals_));
    const auto started = controller().Start(fresh);
    ASSERT_FALSE(started.ok());
    EXPECT_EQ(started.status().code(), code) << started.status();
    EXPECT_THAT(std::string(started.status().message()), HasSubstr(says));
    EXPECT_EQ(world_.host.Digest(), now);
  }

  ControllerWorld world_;
  const std::string before_;
  int refusals_ = 0;
};

TEST_F(ControllerTest, AnIdThatWasRefused_StaysRefused) {
  v1::FaultSpec spec = Spec("cpu.limit", "a");
  spec.set_duration_ns(0);
  ASSERT_FALSE(controller().Start(spec).ok());
  const auto again = controller().Start(Spec("cpu.limit", "a"));
  ASSERT_FALSE(again.ok());
  EXPECT_THAT(std::string(again.status().message()),
              AllOf(HasSubstr("fault a was refused before"), HasSubstr("give another id")));
  EXPECT_EQ(world_.host.Digest(), before_);
  EXPECT_TRUE(controller().Start(Spec("cpu.limit", "b")).ok());
}

// Protected groups are compared as a whole, and the kernel stops at the NUL.
TEST_F(ControllerTest, ATargetWithANul_IsNone) {
  for (const char* type : {"cpu.limit", "net.loss", "process.pause"}) {
    v1::FaultSpec spec = Spec(type, "a");
    spec.mutable_target()->set_cgroup(std::string("/web\0x", 6));
    ExpectRefused(spec, absl::StatusCode::kInvalidArgument, "control character");
  }
  v1::FaultSpec unit = Spec("cpu.limit", "b");
  unit.mutable_target()->set_unit(std::string("ssh.service\0x", 13));
  ExpectRefused(unit, absl::StatusCode::kInvalidArgument, "is no unit");
}

// Memory that one leak was granted and does not hold yet is no other's.
TEST_F(ControllerTest, LeaksShareTheHeadRoom) {
  // Of 3.05 GiB that may go.
  v1::FaultSpec leak = Spec("mem.leak", "a");
  (*leak.mutable_parameters())["bytes"] = "2GiB";
  ASSERT_TRUE(controller().Start(leak).ok());
  v1::FaultSpec other = Spec("mem.leak", "b", "/db");
  (*other.mutable_parameters())["bytes"] = "2GiB";
  ExpectRefused(other, absl::StatusCode::kFailedPrecondition, "other leaks are to take 2 GiB more");
  (*other.mutable_parameters())["bytes"] = "1GiB";
  other.set_id("c");
  EXPECT_TRUE(controller().Start(other).ok());
}

TEST_F(ControllerTest, LimitsTheCpu_UntilTheDeadline) {
  std::vector<v1::Phase> phases;
  controller().Watch(false, [&](const v1::FaultState& state) { phases.push_back(state.phase()); });
  const std::int64_t begin_ns = world_.clock.Now().boottime_ns;
  const auto started = controller().Start(Spec("cpu.limit", "a"));
  ASSERT_TRUE(started.ok()) << started.status();
  EXPECT_EQ(started->phase(), v1::PHASE_VERIFIED);
  EXPECT_EQ(world_.host.values["/web cpu:cpu.cfs_quota_us"], "50000");
  EXPECT_EQ(started->edges().commanded().boottime_ns(), begin_ns);
  EXPECT_EQ(started->edges().acked().boottime_ns(), begin_ns);
  EXPECT_EQ(started->deadline_boottime_ns(), begin_ns + 10 * kNsPerSecond);
  EXPECT_EQ(started->spec().parameters().at("period"), "100ms");
  EXPECT_NE(started->spec().seed(), 0u);
  EXPECT_EQ(started->boot_id(), "this-boot");

  world_.Pass(20 * kNsPerSecond);
  EXPECT_EQ(world_.host.Digest(), before_);
  const v1::FaultState ended = world_.Find("a");
  EXPECT_EQ(ended.phase(), v1::PHASE_UNDONE);
  EXPECT_EQ(ended.reason(), "");
  EXPECT_EQ(ended.edges().undone().boottime_ns(), begin_ns + 10 * kNsPerSecond);
  EXPECT_EQ(ended.residue_size(), 0);
  EXPECT_THAT(phases, ElementsAre(v1::PHASE_ACCEPTED, v1::PHASE_JOURNALED, v1::PHASE_APPLIED,
                                  v1::PHASE_VERIFIED, v1::PHASE_UNDOING, v1::PHASE_UNDONE));
}

TEST_F(ControllerTest, EveryTypeIsAppliedVerifiedAndUndone) {
  for (const char* type : {"cpu.limit", "process.pause", "mem.leak", "sham"}) {
    const v1::FaultSpec spec = Spec(type, absl::StrCat("id-", std::string(type).substr(0, 3)));
    ASSERT_TRUE(controller().Start(spec).ok()) << type;
    world_.Pass(kNsPerSecond);
    const auto stopped = controller().Stop(spec.id());
    ASSERT_TRUE(stopped.ok());
    EXPECT_EQ(stopped->phase(), v1::PHASE_UNDONE);
    EXPECT_EQ(stopped->reason(), "stopped");
    EXPECT_EQ(world_.host.Digest(), before_) << type;
  }
}

TEST_F(ControllerTest, ShamHasNoDoseAndNoTouch_ByEveryMechanism) {
  for (const char* mechanism : {"cgroup", "freezer", "process", "helper", "link", "plane"}) {
    const auto started = controller().Start(ControllerWorld::Sham(mechanism, mechanism));
    ASSERT_TRUE(started.ok()) << mechanism << started.status();
    world_.Pass(kNsPerSecond);
    const auto stopped = controller().Stop(mechanism);
    ASSERT_TRUE(stopped.ok());
    EXPECT_TRUE(stopped->sham());
    EXPECT_EQ(stopped->dose_size(), 0);
    EXPECT_EQ(stopped->edges().first_touch().boottime_ns(), 0);
    EXPECT_EQ(world_.host.Digest(), before_);
  }
}

TEST_F(ControllerTest, AnswersARepeatedStartWithTheFirst) {
  const auto first = controller().Start(Spec("cpu.limit", "a"));
  world_.Pass(kNsPerSecond);
  const auto again = controller().Start(Spec("cpu.limit", "a"));
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->edges().acked().boottime_ns(), first->edges().acked().boottime_ns());
  EXPECT_EQ(controller().List(false).faults_size(), 1);
  ASSERT_TRUE(controller().Stop("a").ok());
  const auto after = controller().Start(Spec("cpu.limit", "a"));
  ASSERT_TRUE(after.ok());
  EXPECT_EQ(after->phase(), v1::PHASE_UNDONE);
  world_.Crash();
  world_.Boot();
  EXPECT_EQ(controller().Start(Spec("cpu.limit", "a"))->phase(), v1::PHASE_UNDONE);
  EXPECT_EQ(world_.host.Digest(), before_);
}

TEST_F(ControllerTest, ChoosesAnIdAndASeed_WhereNoneIsGiven) {
  const auto started = controller().Start(Spec("sham", ""));
  ASSERT_TRUE(started.ok());
  EXPECT_EQ(started->spec().id().size(), 36u);
  EXPECT_EQ(started->spec().id()[14], '4');
}

TEST_F(ControllerTest, StoppingTwiceIsNoError_AndAnUnknownFaultIs) {
  ASSERT_TRUE(controller().Start(Spec("sham", "a")).ok());
  ASSERT_TRUE(controller().Stop("a").ok());
  EXPECT_EQ(controller().Stop("a")->phase(), v1::PHASE_UNDONE);
  EXPECT_TRUE(absl::IsNotFound(controller().Stop("b").status()));
}

TEST_F(ControllerTest, RefusesBadRequests_AndChangesNothing) {
  const auto invalid = absl::StatusCode::kInvalidArgument;
  ExpectRefused(Spec("cpu.limits", "a"), invalid,
                "there is no fault \"cpu.limits\"; there are cpu.limit, ");
  v1::FaultSpec spec = Spec("cpu.limit", "a");
  (*spec.mutable_parameters())["cpus"] = "100";
  ExpectRefused(spec, invalid, "cpus is 100; it must be from 0.05 CPU to 64 CPU");
  spec = Spec("cpu.limit", "a");
  (*spec.mutable_parameters())["period"] = "10ms";
  (*spec.mutable_parameters())["cpus"] = "0.05";
  ExpectRefused(spec, invalid, "take a period of at least 20ms");
  spec = Spec("cpu.limit", "a");
  spec.clear_duration_ns();
  ExpectRefused(spec, invalid, "a duration is missing");
  spec = Spec("cpu.limit", "a");
  spec.set_duration_ns(4000 * kNsPerSecond);
  ExpectRefused(spec, invalid, "this host allows at most 1h");
  spec = Spec("cpu.limit", "a");
  spec.mutable_target()->set_interface("eth0");
  ExpectRefused(spec, invalid, "the target is of kind interface; cpu.limit acts on a cgroup");
  spec.clear_target();
  ExpectRefused(spec, invalid, "a target is missing");
  spec = Spec("cpu.limit", "a");
  spec.add_peers()->set_protocol("tcp");
  ExpectRefused(spec, invalid, "takes no peer filters");
  spec = Spec("cpu.limit", "a");
  spec.mutable_shape()->set_kind(v1::SHAPE_KIND_PULSE);
  ExpectRefused(spec, invalid, "the time that a pulse is on is missing");
  v1::FaultSpec sham = Spec("sham", "a");
  *sham.mutable_shape() = spec.shape();
  ExpectRefused(sham, invalid, "leave the shape out");
  ExpectRefused(Spec("cpu.limit", "a/b"), invalid, "must be a UUID");
  ExpectRefused(Spec("cpu.limit", "a.b"), invalid, "must be a UUID");
  ExpectRefused(Spec("cpu.limit", "a", "/nowhere"), absl::StatusCode::kNotFound, "/nowhere");
  ExpectRefused(Spec("cpu.limit", "a", "/"), invalid, "whole machine");
  EXPECT_EQ(world_.Find("a1").phase(), v1::PHASE_REFUSED);
}

TEST_F(ControllerTest, RefusesWhatAnotherFaultChangesAlready) {
  ASSERT_TRUE(controller().Start(Spec("cpu.limit", "a")).ok());
  const auto failed = absl::StatusCode::kFailedPrecondition;
  v1::FaultSpec tighter = Spec("cpu.limit", "b");
  (*tighter.mutable_parameters())["cpus"] = "0.1";
  ExpectRefused(tighter, failed, "fault a (cpu.limit, until ");
  ExpectRefused(tighter, failed, "Z) already changes cpu:cpu.cfs_");
  ExpectRefused(tighter, failed, "_us of /web; end it with `faultline stop a`, or wait");
  ExpectRefused(Spec("cpu.limit", "b", "/web/worker"), failed, "fault a (cpu.limit, until ");
  ExpectRefused(Spec("sham", "b"), failed, "fault a (cpu.limit, until ");
  EXPECT_TRUE(controller().Start(Spec("process.pause", "b")).ok());
  EXPECT_TRUE(controller().Start(Spec("cpu.limit", "c", "/db")).ok());
  EXPECT_TRUE(controller().Start(Spec("mem.leak", "d")).ok());
  ExpectRefused(Spec("process.pause", "e", "/db"), failed, "this host allows 4 faults at a time");
}

// To each plan the other fault's work looks like somebody else's; what is said is whose it is.
TEST_F(ControllerTest, NamesTheOtherFault_ForEveryType) {
  for (const char* type : {"cpu.limit", "process.pause", "mem.leak", "net.loss"}) {
    ASSERT_TRUE(controller().Start(Spec(type, "first")).ok()) << type;
    ExpectRefused(Spec(type, "second"), absl::StatusCode::kFailedPrecondition,
                  absl::StrCat("fault first (", type, ", until "));
    ASSERT_TRUE(controller().Stop("first").ok());
    EXPECT_EQ(world_.Find("first").phase(), v1::PHASE_UNDONE);
    world_.Crash();
    world_.Forget();
    world_.Boot();
  }
}

TEST_F(ControllerTest, RefusesAPauseBelowAPausedGroup_ByName) {
  ASSERT_TRUE(controller().Start(Spec("process.pause", "a")).ok());
  ExpectRefused(Spec("process.pause", "b", "/web/worker"), absl::StatusCode::kFailedPrecondition,
                "fault a (process.pause, until ");
  EXPECT_TRUE(controller().Start(Spec("process.pause", "c", "/db")).ok());
}

TEST_F(ControllerTest, EndsWithItsTarget) {
  for (const char* type : {"cpu.limit", "cpu.load", "process.pause", "mem.leak", "net.loss"}) {
    const std::string id = absl::StrCat("of-", FindFaultType(type) - FaultTypes().data());
    ASSERT_TRUE(controller().Start(Spec(type, id, "/db")).ok()) << type;
    world_.Pass(kNsPerSecond);
    world_.host.removed.insert("/db");
    const std::int64_t removed_ns = world_.clock.Now().boottime_ns;
    world_.Pass(kNsPerSecond);
    const v1::FaultState state = world_.Find(id);
    EXPECT_EQ(state.phase(), v1::PHASE_INTERFERED) << type;
    EXPECT_THAT(state.reason(), HasSubstr("the target ended: ")) << type;
    const v1::Edge& undone = state.edges().undone();
    EXPECT_LE(undone.boottime_ns() - undone.error_ns(), removed_ns);
    EXPECT_LE(undone.error_ns(), 500 * kNsPerMs);
    // What cpu.stat would have said at the end went with the group.
    EXPECT_EQ(absl::StrContains(state.reason(), "; its dose is a lower bound, of at most 250ms "),
              std::string(type) == "cpu.limit")
        << state.reason();
    EXPECT_EQ(state.dose_complete(), std::string(type) != "cpu.limit") << state.reason();
    world_.host.removed.clear();
    world_.host.AddGroup("/db");
  }
}

TEST_F(ControllerTest, RefusesAFaultThatWouldLoosenALimit) {
  world_.host.values["/web cpu:cpu.cfs_quota_us"] = "20000";
  ExpectRefused(Spec("cpu.limit", "a"), absl::StatusCode::kFailedPrecondition,
                "ask for less than 0.2");
}

TEST_F(ControllerTest, RefusesMemoryBeyondAParentsLimit_UnlessToldTo) {
  world_.host.values["/web memory:memory.limit_in_bytes"] = "4000000";
  v1::FaultSpec spec = Spec("mem.leak", "a", "/web/worker");
  ExpectRefused(spec, absl::StatusCode::kFailedPrecondition,
                "control group /web uses 976.5 KiB of 3.8 MiB; ask for at most 2.8 MiB");
  (*spec.mutable_parameters())["allow_oom"] = "yes";
  const auto plan = controller().Validate(spec);
  ASSERT_TRUE(plan.ok()) << plan.status();
  EXPECT_THAT(plan->notes(0), HasSubstr("the helper first"));
}

TEST_F(ControllerTest, ValidateShowsTheChanges_AndMakesNone) {
  const auto plan = controller().Validate(Spec("cpu.limit", ""));
  ASSERT_TRUE(plan.ok());
  ASSERT_EQ(plan->changes_size(), 3);
  EXPECT_EQ(plan->changes(0).kind(), "watch");
  EXPECT_EQ(plan->changes(2).attribute(), "cpu:cpu.cfs_quota_us");
  EXPECT_EQ(plan->changes(2).before(), "-1");
  EXPECT_EQ(plan->changes(2).after(), "50000");
  EXPECT_EQ(world_.host.Digest(), before_);
  EXPECT_EQ(controller().List(false).faults_size(), 0);
}

// What is well formed and yet cannot do what it says is told in the plan.
TEST_F(ControllerTest, NotesWhatCannotBeAsItIsAskedFor) {
  const auto notes = [this](const v1::FaultSpec& spec) {
    const auto plan = controller().Validate(spec);
    EXPECT_TRUE(plan.ok()) << plan.status();
    return plan.ok() ? std::vector<std::string>(plan->notes().begin(), plan->notes().end())
                     : std::vector<std::string>();
  };
  v1::FaultSpec cpu = Spec("cpu.limit", "");
  EXPECT_THAT(notes(cpu), ElementsAre());
  (*cpu.mutable_parameters())["cpus"] = "3.9";
  EXPECT_THAT(notes(cpu), ElementsAre());
  (*cpu.mutable_parameters())["cpus"] = "4";
  EXPECT_THAT(
      notes(cpu),
      ElementsAre("the host has 4 CPUs, so the group could not use more than cpus=4 anyway: "
                  "expect no effect; ask for less than 4"));
  v1::FaultSpec leak = Spec("mem.leak", "");
  EXPECT_THAT(notes(leak), ElementsAre());
  (*leak.mutable_parameters())["bytes"] = "1GiB";
  EXPECT_THAT(notes(leak),
              ElementsAre("at 64 MiB a second it holds 640 MiB at most when it ends after 10s, not "
                          "1 GiB: for all of it give a higher rate, or a duration above 16s"));
  world_.host.empty.insert("/db");
  EXPECT_THAT(notes(Spec("cpu.limit", "", "/db")),
              ElementsAre("no process is in control group /db nor below it: as long as none comes, "
                          "nothing is met"));
  v1::FaultSpec loss = Spec("net.loss", "");
  EXPECT_THAT(notes(loss), ::testing::Contains("10 % of the packets are lost"));
  (*loss.mutable_parameters())["loss"] = "0.5";
  EXPECT_THAT(notes(loss),
              ::testing::Contains("0.5 % of the packets are lost: loss is a percentage; if you "
                                  "meant a fraction, write loss=50%"));
  (*loss.mutable_parameters())["loss"] = "0.5%";
  EXPECT_THAT(notes(loss), ::testing::Contains("0.5 % of the packets are lost"));
}

TEST_F(ControllerTest, FailsAndPutsBack_WhenALeverDoesNotMove) {
  int applies = 0;
  world_.host.on_step = [&](const std::string& step) {
    // The second lever fails after its effect.
    return step == "change" && ++applies == 4 ? absl::InvalidArgumentError("the kernel says no")
                                              : absl::OkStatus();
  };
  const auto started = controller().Start(Spec("cpu.limit", "a"));
  EXPECT_TRUE(absl::IsFailedPrecondition(started.status())) << started.status();
  EXPECT_EQ(world_.host.Digest(), before_);
  EXPECT_EQ(world_.Find("a").phase(), v1::PHASE_FAILED);
  EXPECT_EQ(world_.Find("a").reason(), "the kernel says no");
  EXPECT_EQ(world_.Find("a").edges().acked().boottime_ns(), 0);
}

TEST_F(ControllerTest, SaysInterfered_WhenSomebodyElseChangesTheValue) {
  ASSERT_TRUE(controller().Start(Spec("cpu.limit", "a")).ok());
  world_.host.values["/web cpu:cpu.cfs_quota_us"] = "70000";
  world_.Pass(2 * kNsPerSecond);
  const v1::FaultState state = world_.Find("a");
  EXPECT_EQ(state.phase(), v1::PHASE_INTERFERED);
  EXPECT_EQ(state.verdict(), v1::VERDICT_INTERFERED);
  EXPECT_THAT(state.reason(),
              HasSubstr("cpu.cfs_quota_us of /web is 70000 although the fault set it to 50000"));
  EXPECT_EQ(state.residue_size(), 1);
  EXPECT_NE(state.edges().undone().boottime_ns(), 0);
  // Theirs stays; the lever that nobody touched is back.
  EXPECT_EQ(world_.host.values["/web cpu:cpu.cfs_quota_us"], "70000");
  EXPECT_EQ(world_.host.values["/web cpu:cpu.cfs_period_us"], "100000");
  EXPECT_EQ(controller().List(true).faults_size(), 0);
}

TEST_F(ControllerTest, KeepsTryingToUndo) {
  ASSERT_TRUE(controller().Start(Spec("process.pause", "a")).ok());
  world_.host.on_step = [](const std::string& step) {
    return step == "change" ? absl::UnavailableError("not now") : absl::OkStatus();
  };
  world_.Pass(30 * kNsPerSecond);
  EXPECT_EQ(world_.Find("a").phase(), v1::PHASE_UNDOING);
  EXPECT_THAT(world_.Find("a").residue(0), HasSubstr("not now"));
  world_.host.on_step = nullptr;
  world_.Pass(2 * kNsPerSecond);
  EXPECT_EQ(world_.Find("a").phase(), v1::PHASE_UNDONE);
  EXPECT_EQ(world_.Find("a").residue_size(), 0);
  EXPECT_EQ(world_.host.Digest(), before_);
}

// Open in the journal it would be taken for a fault whose deadline nobody keeps.
TEST_F(ControllerTest, AnEndThatCouldNotBeWritten_IsWrittenBeforeAnythingElse) {
  ASSERT_TRUE(controller().Start(Spec("cpu.limit", "a")).ok());
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(world_.JournalPath().c_str(), &other), SQLITE_OK);
  const absl::Cleanup close = [other] { sqlite3_close(other); };
  ASSERT_EQ(sqlite3_exec(other, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
  ASSERT_TRUE(controller().Stop("a").ok());
  EXPECT_EQ(world_.host.Digest(), before_);
  const auto first_open = [this] {
    return *Journal::FirstDeadline(world_.JournalPath(), world_.boot_id);
  };
  EXPECT_LT(first_open(), INT64_MAX);
  ExpectRefused(Spec("sham", "b"), absl::StatusCode::kInternal, "journal cannot be written");
  ASSERT_EQ(sqlite3_exec(other, "ROLLBACK", nullptr, nullptr, nullptr), SQLITE_OK);
  world_.Pass(2 * kNsPerSecond);
  EXPECT_EQ(first_open(), INT64_MAX);
  EXPECT_EQ(controller().NextDue(), Controller::kNever);
  EXPECT_TRUE(controller().Start(Spec("sham", "c")).ok());
}

// None waits for the commit of another.
TEST_F(ControllerTest, WhatEndsTogether_IsUndoneBeforeAnyOfItIsTold) {
  for (const char* id : {"a", "b", "c"}) {
    world_.host.AddGroup(absl::StrCat("/", id));
  }
  const std::string before = world_.host.Digest();
  for (const char* id : {"a", "b", "c"}) {
    ASSERT_TRUE(controller().Start(Spec("cpu.limit", id, absl::StrCat("/", id))).ok());
  }
  std::vector<std::string> told;
  const int watch = controller().Watch(true, [&](const v1::FaultState& state) {
    if (state.phase() != v1::PHASE_UNDONE) return;
    told.push_back(state.spec().id());
    EXPECT_EQ(world_.host.Digest(), before) << state.spec().id();
    // All are kept by then.
    EXPECT_EQ(*Journal::FirstDeadline(world_.JournalPath(), world_.boot_id), INT64_MAX);
  });
  world_.Pass(11 * kNsPerSecond);
  controller().Unwatch(watch);
  EXPECT_THAT(told, ElementsAre("c", "b", "a"));
}

// What gives back much memory takes its time, and nothing else waits for it.
TEST_F(ControllerTest, AHelperThatTakesTimeToEnd_KeepsNoOtherFault) {
  ASSERT_TRUE(controller().Start(Spec("cpu.limit", "limit")).ok());
  ASSERT_TRUE(controller().Start(Spec("mem.leak", "leak", "/db")).ok());
  const std::int64_t deadline_ns = world_.Find("leak").deadline_boottime_ns();
  world_.host.closing_ns = deadline_ns;
  world_.host.helper_looks = 20;
  world_.Pass(10 * kNsPerSecond);
  EXPECT_EQ(world_.Find("limit").phase(), v1::PHASE_UNDONE);
  EXPECT_EQ(world_.Find("leak").phase(), v1::PHASE_UNDOING);
  world_.Pass(kNsPerSecond);
  EXPECT_EQ(world_.Find("leak").phase(), v1::PHASE_UNDONE);
  EXPECT_EQ(world_.host.helper_kills, 0);
  EXPECT_EQ(world_.host.Digest(), before_);
}

// Neither is it over before a predecessor's has gone, nor does another fault's undo wait for that.
TEST_F(ControllerTest, AHelperThatADeadProcessLeft_TakesItsTimeToo) {
  ASSERT_TRUE(controller().Start(Spec("cpu.limit", "limit")).ok());
  ASSERT_TRUE(controller().Start(Spec("mem.leak", "leak", "/db")).ok());
  world_.Crash();
  world_.host.closing_ns = world_.clock.Now().boottime_ns;
  world_.host.helper_looks = 20;
  world_.Boot();
  EXPECT_EQ(world_.Find("limit").phase(), v1::PHASE_UNDONE);
  EXPECT_EQ(world_.Find("leak").phase(), v1::PHASE_UNDOING);
  EXPECT_TRUE(controller().Settling());
  // It dies, and gives its memory back.
  world_.host.helpers_die = true;
  world_.Pass(300 * kNsPerMs);
  EXPECT_EQ(world_.Find("leak").phase(), v1::PHASE_UNDOING);
  EXPECT_NE(world_.host.Digest(), before_);
  const std::int64_t alive_ns = world_.clock.Now().boottime_ns;
  world_.Pass(kNsPerSecond);
  const v1::Edge undone = world_.Find("leak").edges().undone();
  EXPECT_GE(undone.boottime_ns(), alive_ns);
  EXPECT_EQ(world_.Find("leak").phase(), v1::PHASE_UNDONE);
  EXPECT_FALSE(controller().Settling());
  EXPECT_EQ(world_.host.helper_kills, 0);
  EXPECT_EQ(world_.host.Digest(), before_);
}

TEST_F(ControllerTest, AHelperThatDoesNotHear_IsKilled) {
  ASSERT_TRUE(controller().Start(Spec("mem.leak", "leak")).ok());
  world_.host.helper_looks = 15;
  const std::int64_t deadline_ns = world_.Find("leak").deadline_boottime_ns();
  world_.Pass(10 * kNsPerSecond + 190 * kNsPerMs);
  EXPECT_EQ(world_.Find("leak").phase(), v1::PHASE_UNDOING);
  EXPECT_EQ(world_.host.helper_kills, 0);
  world_.Pass(kNsPerSecond);
  EXPECT_EQ(world_.Find("leak").phase(), v1::PHASE_UNDONE);
  EXPECT_GT(world_.host.helper_kills, 0);
  EXPECT_LT(world_.Find("leak").edges().undone().boottime_ns() - deadline_ns, kNsPerSecond / 2);
  // Nor does one that dies slowly wait for ever: it is told as a delay, and tried again.
  ASSERT_TRUE(controller().Start(Spec("mem.leak", "frozen")).ok());
  world_.host.helper_looks = 1000;
  ASSERT_TRUE(controller().Stop("frozen").ok());
  world_.Pass(5 * kNsPerSecond);
  EXPECT_EQ(world_.Find("frozen").phase(), v1::PHASE_UNDOING);
  EXPECT_THAT(world_.Find("frozen").residue(), Contains(HasSubstr("has not ended yet")));
  world_.host.helper_looks = 0;
  world_.Pass(2 * kNsPerSecond);
  EXPECT_EQ(world_.Find("frozen").phase(), v1::PHASE_UNDONE);
  EXPECT_EQ(world_.host.Digest(), before_);
}

TEST_F(ControllerTest, HaltEndsAll_AndOutlivesTheProcess) {
  ASSERT_TRUE(controller().Start(Spec("cpu.limit", "a")).ok());
  ASSERT_TRUE(controller().Start(Spec("process.pause", "b", "/db")).ok());
  // The disk comes last.
  const std::string latch = std::filesystem::path(world_.JournalPath()).parent_path() / "halted";
  world_.host.on_step = [&latch](const std::string& step) {
    EXPECT_FALSE(step == "change" && std::filesystem::exists(latch));
    return absl::OkStatus();
  };
  const auto halted = controller().Halt("smoke");
  ASSERT_TRUE(halted.ok());
  world_.host.on_step = nullptr;
  EXPECT_TRUE(std::filesystem::exists(latch));
  EXPECT_EQ(halted->ended_size(), 2);
  EXPECT_EQ(world_.host.Digest(), before_);
  EXPECT_EQ(world_.Find("a").reason(), "halted: smoke");
  ExpectRefused(Spec("sham", "c"), absl::StatusCode::kFailedPrecondition,
                "this host is halted: smoke");
  world_.Crash();
  world_.Boot();
  ExpectRefused(Spec("sham", "c"), absl::StatusCode::kFailedPrecondition, "halted: smoke");
  EXPECT_EQ(controller().GetCapabilities().halted(), "smoke");
  EXPECT_EQ(controller().List(false).halted(), "smoke");
  EXPECT_TRUE(controller().Release()->was_halted());
  EXPECT_FALSE(controller().Release()->was_halted());
  EXPECT_TRUE(controller().Start(Spec("sham", "c")).ok());
}

TEST_F(ControllerTest, UndoesWhatADeadProcessLeft) {
  ASSERT_TRUE(controller().Start(Spec("cpu.limit", "a")).ok());
  ASSERT_TRUE(controller().Start(Spec("mem.leak", "b")).ok());
  ASSERT_TRUE(controller().Start(Spec("process.pause", "c")).ok());
  world_.Crash();
  EXPECT_NE(world_.host.Digest(), before_);
  world_.Boot();
  EXPECT_EQ(world_.host.Digest(), before_);
  for (const char* id : {"a", "b", "c"}) {
    EXPECT_EQ(world_.Find(id).phase(), v1::PHASE_UNDONE);
    EXPECT_THAT(world_.Find(id).reason(), HasSubstr("the injector died"));
    EXPECT_NE(world_.Find(id).edges().undone().boottime_ns(), 0);
  }
  EXPECT_EQ(controller().recovered().size(), 3u);
}

// By an older version, which does not know all of it.
TEST_F(ControllerTest, UndoesWhatItKnowsOfAFault) {
  ASSERT_TRUE(controller().Start(Spec("cpu.limit", "a")).ok());
  world_.Crash();
  {
    auto journal = Journal::Open(world_.JournalPath());
    ASSERT_TRUE(journal.ok());
    v1::FaultState state = (*journal)->Load()->front();
    v1::Change* const unknown = state.add_changes();
    unknown->set_kind("of a later version");
    state.mutable_changes()->SwapElements(0, state.changes_size() - 1);
    ASSERT_TRUE((*journal)->Save(state).ok());
  }
  world_.Boot();
  EXPECT_EQ(world_.host.values["/web cpu:cpu.cfs_quota_us"], "-1");
  EXPECT_EQ(world_.Find("a").phase(), v1::PHASE_UNDOING);
}

// A quota outlives its process, so what it throttled meanwhile counts, and it ended at the undo.
TEST_F(ControllerTest, CountsOnAfterADeath_WhereTheKernelDid) {
  world_.host.throttled_ns = 100;
  world_.host.throttled_periods = 1;
  ASSERT_TRUE(controller().Start(Spec("cpu.limit", "a")).ok());
  world_.Pass(2 * kNsPerSecond);
  world_.Crash();
  world_.clock.Advance(20 * kNsPerSecond);
  world_.host.throttled_ns = 1100;
  world_.host.throttled_periods = 4;
  const std::int64_t now_ns = world_.clock.Now().boottime_ns;
  world_.Boot();
  const v1::FaultState state = world_.Find("a");
  EXPECT_EQ(state.reason(), "the injector died");
  EXPECT_TRUE(state.dose_complete());
  ASSERT_EQ(state.dose_size(), 2);
  EXPECT_EQ(state.dose(0).value(), 1000);
  EXPECT_EQ(state.dose(1).value(), 3);
  EXPECT_EQ(state.edges().first_touch().boottime_ns(), now_ns);
  EXPECT_GE(state.edges().first_touch().error_ns(), 20 * kNsPerSecond);
  EXPECT_EQ(state.edges().undone().boottime_ns(), now_ns) << "not the deadline";
  EXPECT_EQ(state.edges().undone().error_ns(), 0);
}

TEST_F(ControllerTest, CountsAPauseUntilItIsThawed) {
  ASSERT_TRUE(controller().Start(Spec("process.pause", "a")).ok());
  const std::int64_t begin_ns = world_.clock.Now().boottime_ns;
  world_.Crash();
  world_.clock.Advance(20 * kNsPerSecond);
  world_.Boot();
  const v1::FaultState state = world_.Find("a");
  EXPECT_EQ(state.reason(), "the injector died");
  EXPECT_EQ(state.dose(0).value(), 20 * kNsPerSecond);
  EXPECT_EQ(state.edges().first_touch().boottime_ns(), begin_ns);
  EXPECT_EQ(state.edges().undone().boottime_ns(), begin_ns + 20 * kNsPerSecond);
}

// A link ends with its process, at its deadline at the latest; its ledger tells the rest.
TEST_F(ControllerTest, ReadsTheLedgerOfADeadProcess) {
  ASSERT_TRUE(controller().Start(LossOfInbound()).ok());
  const std::int64_t begin_ns = world_.clock.Now().boottime_ns;
  world_.Pass(2 * kNsPerSecond + 500 * kNsPerMs);
  world_.host.dropped = 7;
  world_.host.first_drop_ns = begin_ns + kNsPerSecond;
  world_.host.last_drop_ns = begin_ns + 2 * kNsPerSecond + 600 * kNsPerMs;
  world_.Crash();
  world_.clock.Advance(100 * kNsPerSecond);
  world_.Boot();
  const v1::FaultState state = world_.Find("a");
  EXPECT_EQ(state.reason(), "the injector died");
  EXPECT_TRUE(state.dose_complete());
  EXPECT_EQ(state.dose(0).value(), 7);
  EXPECT_EQ(state.edges().first_touch().boottime_ns(), world_.host.first_drop_ns);
  EXPECT_EQ(state.edges().last_touch().boottime_ns(), world_.host.last_drop_ns);
  const v1::Edge& undone = state.edges().undone();
  EXPECT_EQ(undone.boottime_ns(), state.deadline_boottime_ns());
  EXPECT_EQ(undone.boottime_ns() - undone.error_ns(), world_.host.last_drop_ns);
}

TEST_F(ControllerTest, SaysWhatItDoesNotKnow_WithoutALedger) {
  world_.host.has_bpffs = false;
  const v1::Capabilities capabilities = controller().GetCapabilities();
  for (const v1::FaultInfo& info : capabilities.faults()) {
    EXPECT_EQ(info.availability() == v1::AVAILABILITY_DEGRADED, FindFaultType(info.type())->ledger)
        << info.type();
  }
  EXPECT_THAT(controller().Validate(Spec("net.loss", ""))->notes(),
              ::testing::Contains("no bpffs"));
  ASSERT_TRUE(controller().Start(LossOfInbound()).ok());
  const std::int64_t begin_ns = world_.clock.Now().boottime_ns;
  world_.host.dropped = 7;
  world_.host.first_drop_ns = world_.host.last_drop_ns = begin_ns;
  world_.Pass(2 * kNsPerSecond + 500 * kNsPerMs);
  world_.Crash();
  world_.clock.Advance(1'200 * kNsPerMs);
  world_.Boot();
  const v1::FaultState state = world_.Find("a");
  EXPECT_FALSE(state.dose_complete());
  EXPECT_EQ(state.dose(0).value(), 7) << "of the last commit";
  EXPECT_EQ(state.reason(),
            "the injector died; its dose is a lower bound, of at most 1.7s before the end: "
            "no bpffs kept what the BPF program counted");
  const v1::Edge& undone = state.edges().undone();
  EXPECT_EQ(undone.boottime_ns(), begin_ns + 3'700 * kNsPerMs);
  EXPECT_EQ(undone.error_ns(), 1'700 * kNsPerMs);
}

// The plan or a commit took longer than the fault was to last.
TEST_F(ControllerTest, AppliesNothing_WhenTheDeadlineIsOverBefore) {
  v1::FaultSpec spec = Spec("cpu.limit", "a");
  spec.set_duration_ns(100 * kNsPerMs);
  int applies = 0;
  world_.host.on_step = [&](const std::string& step) {
    if (step == "read") world_.clock.Advance(60 * kNsPerMs);
    applies += step == "change" ? 1 : 0;
    return absl::OkStatus();
  };
  const auto started = controller().Start(spec);
  EXPECT_TRUE(absl::IsFailedPrecondition(started.status())) << started.status();
  EXPECT_THAT(std::string(started.status().message()),
              HasSubstr("it was not applied: its deadline, 100ms after the command, was over"));
  EXPECT_EQ(applies, 0);
  EXPECT_EQ(world_.host.Digest(), before_);
  const v1::FaultState state = world_.Find("a");
  EXPECT_EQ(state.phase(), v1::PHASE_FAILED);
  EXPECT_EQ(state.edges().acked().boottime_ns(), 0);
  EXPECT_EQ(state.edges().first_touch().boottime_ns(), 0);
  EXPECT_EQ(controller().List(true).faults_size(), 0);
}

// On its way to an ending that is not "undone" when the process died.
TEST_F(ControllerTest, KeepsTheEndingOfADeadProcess) {
  ASSERT_NO_FATAL_FAILURE(CrashWhileUndoingAnInterference());
  world_.host.values["/web cpu:cpu.cfs_quota_us"] = "-1";
  world_.Boot();
  const v1::FaultState state = world_.Find("a");
  EXPECT_EQ(state.phase(), v1::PHASE_INTERFERED);
  EXPECT_EQ(state.verdict(), v1::VERDICT_INTERFERED);
  EXPECT_THAT(state.reason(),
              HasSubstr("is 70000 although the fault set it to 25000; then the injector died"));
  EXPECT_EQ(world_.host.Digest(), before_);
}

TEST_F(ControllerTest, KeepsTheFailureOfADeadProcess) {
  // The programs are attached, the first value is written, and nothing works from then on.
  world_.host.on_step = [changes = 0](const std::string& step) mutable {
    return step == "change" && ++changes > 3 ? absl::UnavailableError("not now") : absl::OkStatus();
  };
  EXPECT_FALSE(controller().Start(TwoValues()).ok());
  world_.Crash();
  world_.Boot();
  EXPECT_EQ(world_.Find("a").phase(), v1::PHASE_FAILED);
  EXPECT_EQ(world_.Find("a").reason(), "not now; then the injector died");
}

TEST_F(ControllerTest, ClosesWhatAnotherBootLeft_WithoutTouchingTheHost) {
  ASSERT_TRUE(controller().Start(Spec("cpu.limit", "a")).ok());
  world_.Crash();
  world_.boot_id = "next-boot";
  // Somebody's own value of after the boot.
  world_.host.values["/web cpu:cpu.cfs_quota_us"] = "50000";
  world_.Boot();
  EXPECT_EQ(world_.host.values["/web cpu:cpu.cfs_quota_us"], "50000");
  const v1::FaultState state = world_.Find("a");
  EXPECT_EQ(state.phase(), v1::PHASE_UNDONE);
  EXPECT_EQ(state.reason(),
            "reboot; its dose is a lower bound, of at most 0 before the end: what counted it ended "
            "with the boot");
  EXPECT_GE(state.edges().undone().boottime_ns(), state.edges().acked().boottime_ns());
}

// The ending that was journaled outlives the boot, whose end undid the fault.
TEST_F(ControllerTest, KeepsTheInterference_OverAReboot) {
  ASSERT_NO_FATAL_FAILURE(CrashWhileUndoingAnInterference());
  world_.boot_id = "next-boot";
  const std::string rebooted = world_.host.Digest();
  world_.Boot();
  const v1::FaultState state = world_.Find("a");
  EXPECT_EQ(state.phase(), v1::PHASE_INTERFERED);
  EXPECT_EQ(state.verdict(), v1::VERDICT_INTERFERED);
  EXPECT_THAT(state.reason(),
              HasSubstr("is 70000 although the fault set it to 25000; then reboot"));
  EXPECT_EQ(state.residue_size(), 0);
  EXPECT_NE(state.edges().undone().boottime_ns(), 0);
  EXPECT_EQ(world_.host.Digest(), rebooted);
  // Closed for good: the boot after that finds nothing open.
  world_.Crash();
  world_.boot_id = "third-boot";
  world_.Boot();
  EXPECT_TRUE(controller().recovered().empty());
  EXPECT_EQ(world_.Find("a").phase(), v1::PHASE_INTERFERED);
  EXPECT_EQ(world_.Find("a").reason(), state.reason());
}

TEST_F(ControllerTest, KeepsTheFailure_OverAReboot) {
  // The programs are attached, the first value is written, and nothing works from then on.
  world_.host.on_step = [changes = 0](const std::string& step) mutable {
    return step == "change" && ++changes > 3 ? absl::UnavailableError("not now") : absl::OkStatus();
  };
  EXPECT_FALSE(controller().Start(TwoValues()).ok());
  ASSERT_EQ(world_.Find("a").phase(), v1::PHASE_UNDOING);
  world_.Crash();
  world_.boot_id = "next-boot";
  const std::string rebooted = world_.host.Digest();
  world_.Boot();
  const v1::FaultState state = world_.Find("a");
  EXPECT_EQ(state.phase(), v1::PHASE_FAILED);
  EXPECT_EQ(state.verdict(), v1::VERDICT_UNSPECIFIED);
  EXPECT_THAT(state.reason(), ::testing::StartsWith("not now; then reboot; "));
  EXPECT_EQ(world_.host.Digest(), rebooted);
}

TEST_F(ControllerTest, ThreadEndsAFaultAtItsDeadline) {
  world_.controller.reset();
  world_.run_thread = true;
  world_.Boot();
  absl::Mutex mutex;
  bool ended = false;
  controller().Watch(false, [&](const v1::FaultState& state) {
    const absl::MutexLock lock(&mutex);
    ended = ended || state.phase() == v1::PHASE_UNDONE;
  });
  ASSERT_TRUE(controller().Start(Spec("cpu.limit", "a")).ok());
  world_.clock.Advance(10 * kNsPerSecond);
  const absl::MutexLock lock(&mutex);
  EXPECT_TRUE(mutex.AwaitWithTimeout(absl::Condition(&ended), absl::Seconds(10)));
}

}  // namespace
}  // namespace faultline
