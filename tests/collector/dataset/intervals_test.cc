// SPDX-License-Identifier: Apache-2.0
#include "collector/dataset/intervals.h"

#include <gtest/gtest.h>

#include <deque>
#include <optional>
#include <string>
#include <vector>

namespace faultline {
namespace {

// commanded 100, acked 110, first touch 120, undone 200, recovered 230.
FaultInterval Fault(v1::Verdict verdict = v1::VERDICT_EFFECTIVE) {
  FaultInterval fault;
  fault.state.mutable_spec()->set_id("f");
  fault.state.set_boot_id("boot");
  fault.state.set_phase(v1::PHASE_UNDONE);
  auto* edges = fault.state.mutable_edges();
  edges->mutable_commanded()->set_boottime_ns(100);
  edges->mutable_acked()->set_boottime_ns(110);
  edges->mutable_first_touch()->set_boottime_ns(120);
  edges->mutable_last_touch()->set_boottime_ns(150);
  edges->mutable_undone()->set_boottime_ns(200);
  fault.verdict = verdict;
  fault.recovered_ns = 230;
  return fault;
}

// As a node says it that names every fault of `named` as active.
WindowLabel LabelOf(const std::vector<FaultInterval>& faults, std::int64_t begin, std::int64_t end,
                    const std::string& boot = "boot", const std::vector<Span>& unseen = {},
                    const std::vector<std::string>& named = {}) {
  static std::deque<IntervalTable> tables;  // labels point into them
  tables.push_back(IntervalTable(faults, unseen));
  v1::Frame frame;
  frame.set_begin_boottime_ns(begin);
  frame.set_end_boottime_ns(end);
  for (const std::string& fault : named) frame.add_active_faults(fault);
  return tables.back().Label(frame, boot);
}

TEST(Label, OfEachPlaceOfTheWindow) {
  struct Case {
    const char* what;
    std::int64_t begin;
    std::int64_t end;
    bool active;
    bool label;
    LabelState state;
  };
  const Case cases[] = {
      {"before", 80, 100, false, false, LabelState::kNormal},
      {"command inside", 90, 105, false, false, LabelState::kTransition},
      {"between command and ack", 101, 109, false, false, LabelState::kTransition},
      {"ack inside", 105, 115, true, false, LabelState::kTransition},
      {"acked, untouched", 111, 119, true, false, LabelState::kFault},
      {"touch inside", 115, 130, true, false, LabelState::kTransition},
      {"from the touch on", 120, 130, true, true, LabelState::kFault},
      {"last touch inside", 140, 160, true, true, LabelState::kFault},
      {"after the last touch", 160, 170, true, true, LabelState::kFault},
      {"up to the end", 190, 200, true, true, LabelState::kFault},
      {"end inside", 195, 205, true, false, LabelState::kTransition},
      {"recovery", 200, 210, false, false, LabelState::kRecovery},
      {"recovery ends inside", 225, 235, false, false, LabelState::kRecovery},
      {"recovered", 230, 240, false, false, LabelState::kNormal},
      {"all of it", 50, 300, true, false, LabelState::kTransition},
  };
  for (const Case& test : cases) {
    const WindowLabel label = LabelOf({Fault()}, test.begin, test.end);
    EXPECT_EQ(label.fault_active, test.active) << test.what;
    EXPECT_EQ(label.label, test.label) << test.what;
    EXPECT_STREQ(LabelStateName(label.state), LabelStateName(test.state)) << test.what;
    EXPECT_EQ(label.faults.size(), test.state == LabelState::kNormal ? 0U : 1U) << test.what;
  }
}

// Ordered ahead, it does nothing to the host until it begins.
TEST(Label, OfAFaultThatBeganLater_IsNormalUntilItsStart) {
  FaultInterval fault = Fault();
  fault.state.mutable_edges()->mutable_commanded()->set_boottime_ns(10);
  fault.state.mutable_edges()->mutable_commanded()->set_realtime_ns(1010);
  fault.state.set_start_boottime_ns(100);
  EXPECT_EQ(LabelOf({fault}, 5, 20).state, LabelState::kNormal);
  EXPECT_EQ(LabelOf({fault}, 50, 100).state, LabelState::kNormal);
  EXPECT_EQ(LabelOf({fault}, 101, 109).state, LabelState::kTransition);
  EXPECT_TRUE(LabelOf({fault}, 130, 140).label);
  EXPECT_EQ(fault.EndRealtime(), 1200);
}

// On from 100 to 120, off until 150, and again.
TEST(Label, OfAFaultInPulses_IsOneOnlyInThem) {
  FaultInterval fault = Fault();
  fault.state.set_start_boottime_ns(100);
  fault.state.mutable_edges()->mutable_acked()->set_boottime_ns(101);
  fault.state.mutable_edges()->mutable_first_touch()->set_boottime_ns(102);
  fault.state.mutable_spec()->mutable_shape()->set_kind(v1::SHAPE_KIND_PULSE);
  fault.state.mutable_spec()->mutable_shape()->set_on_ns(20);
  fault.state.mutable_spec()->mutable_shape()->set_off_ns(30);
  struct Case {
    std::int64_t begin;
    std::int64_t end;
    bool label;
    LabelState state;
  };
  for (const Case& test :
       {Case{105, 120, true, LabelState::kFault}, Case{115, 125, false, LabelState::kTransition},
        Case{120, 150, false, LabelState::kFault}, Case{145, 155, false, LabelState::kTransition},
        Case{150, 170, true, LabelState::kFault},
        // No window of that length can tell the pulses apart.
        Case{110, 170, true, LabelState::kFault}}) {
    const WindowLabel label = LabelOf({fault}, test.begin, test.end);
    EXPECT_EQ(label.fault_active, true);
    EXPECT_EQ(label.label, test.label) << test.begin;
    EXPECT_STREQ(LabelStateName(label.state), LabelStateName(test.state)) << test.begin;
  }
}

TEST(Label, OfAFaultToCome_IsNormal) {
  for (const v1::Phase phase : {v1::PHASE_ACCEPTED, v1::PHASE_JOURNALED, v1::PHASE_REFUSED}) {
    FaultInterval fault;
    fault.state.mutable_spec()->set_id("f");
    fault.state.set_boot_id("boot");
    fault.state.set_phase(phase);
    fault.state.mutable_edges()->mutable_commanded()->set_boottime_ns(10);
    if (phase == v1::PHASE_REFUSED) {
      fault.state.mutable_edges()->mutable_undone()->set_boottime_ns(60);
    }
    fault.state.set_start_boottime_ns(100);
    fault.state.set_deadline_boottime_ns(200);
    for (const std::int64_t begin : {0, 5, 50, 95, 110}) {
      const WindowLabel label = LabelOf({fault}, begin, begin + 20);
      EXPECT_EQ(label.state, LabelState::kNormal) << phase << " at " << begin;
      EXPECT_EQ(label.fault_active, false);
      EXPECT_FALSE(label.label);
      EXPECT_TRUE(label.faults.empty());
    }
  }
}

TEST(Label, IsOneOnlyForEffectiveAndCollateral) {
  EXPECT_TRUE(LabelOf({Fault(v1::VERDICT_EFFECTIVE)}, 130, 140).label);
  EXPECT_TRUE(LabelOf({Fault(v1::VERDICT_COLLATERAL)}, 130, 140).label);
  for (const v1::Verdict verdict :
       {v1::VERDICT_UNSPECIFIED, v1::VERDICT_NO_EFFECT, v1::VERDICT_INTERFERED}) {
    const WindowLabel label = LabelOf({Fault(verdict)}, 130, 140);
    EXPECT_FALSE(label.label);
    EXPECT_EQ(label.fault_active, true);
    EXPECT_EQ(label.state, LabelState::kFault);
  }
  FaultInterval sham = Fault();
  sham.state.set_sham(true);
  EXPECT_FALSE(LabelOf({sham}, 130, 140).label);
  EXPECT_EQ(LabelOf({sham}, 130, 140).fault_active, true);
  FaultInterval untouched = Fault();
  untouched.state.mutable_edges()->clear_first_touch();
  EXPECT_FALSE(LabelOf({untouched}, 130, 140).label);
}

TEST(Label, RefusedFaultLeavesNoTraceAndAFailedOneATransition) {
  FaultInterval fault = Fault();
  fault.state.mutable_edges()->clear_acked();
  fault.state.mutable_edges()->clear_first_touch();
  fault.recovered_ns = 200;
  fault.state.set_phase(v1::PHASE_REFUSED);
  EXPECT_EQ(LabelOf({fault}, 90, 105).state, LabelState::kNormal);
  fault.state.set_phase(v1::PHASE_FAILED);
  EXPECT_EQ(LabelOf({fault}, 90, 105).state, LabelState::kTransition);
  EXPECT_EQ(LabelOf({fault}, 130, 140).state, LabelState::kTransition);
  EXPECT_EQ(LabelOf({fault}, 130, 140).fault_active, false);
  EXPECT_EQ(LabelOf({fault}, 210, 220).state, LabelState::kNormal);
}

// Its injector died between the change and the confirmation: it may have met something.
TEST(Label, FaultThatWasTakenBackBeforeItsAck_IsATransition) {
  FaultInterval fault = Fault();
  fault.state.mutable_edges()->clear_acked();
  fault.recovered_ns = 200;
  EXPECT_EQ(LabelOf({fault}, 90, 105).state, LabelState::kTransition);
  EXPECT_EQ(LabelOf({fault}, 130, 140).state, LabelState::kTransition);
  EXPECT_FALSE(LabelOf({fault}, 130, 140).label);
  EXPECT_EQ(LabelOf({fault}, 210, 220).state, LabelState::kNormal);
}

TEST(Label, OfARecoveryWithoutTheInjectorSaysThatItWasUnseen) {
  const WindowLabel label = LabelOf({Fault()}, 205, 215, "boot", {{"boot", 190, 300}});
  EXPECT_EQ(label.state, LabelState::kRecovery);
  EXPECT_TRUE(label.unseen);
  EXPECT_FALSE(LabelOf({Fault()}, 205, 215).unseen);
}

TEST(Label, WithoutTheInjector_NobodySaysWhetherAFaultIsActiveThatNobodyEnded) {
  const std::vector<Span> unseen = {{"boot", 125, 1000}};
  // The next injector found it in force, so it was.
  EXPECT_EQ(LabelOf({Fault()}, 130, 140, "boot", unseen).fault_active, true);
  EXPECT_EQ(LabelOf({}, 130, 140, "boot", unseen).fault_active, std::nullopt);
  FaultInterval fault = Fault();
  fault.state.mutable_edges()->clear_undone();
  fault.state.set_phase(v1::PHASE_VERIFIED);
  fault.recovered_ns = fault.End();
  const WindowLabel label = LabelOf({fault}, 130, 140, "boot", unseen);
  EXPECT_EQ(label.fault_active, std::nullopt);
  EXPECT_EQ(label.state, LabelState::kUnknown);
  EXPECT_FALSE(label.facts_differ);
}

TEST(Label, FaultWithoutEndLastsAsLongAsItIsKnownTo) {
  FaultInterval fault = Fault();
  fault.state.mutable_edges()->clear_undone();
  fault.state.set_phase(v1::PHASE_VERIFIED);
  fault.recovered_ns = fault.End();
  EXPECT_TRUE(LabelOf({fault}, 5000, 5001, "boot", {}, {"f"}).label);
  // A node that does not know of it is no witness: its agent was started anew, without injector.
  const WindowLabel unwitnessed = LabelOf({fault}, 5000, 5001);
  EXPECT_FALSE(unwitnessed.label);
  EXPECT_EQ(unwitnessed.fault_active, std::nullopt);
  EXPECT_EQ(unwitnessed.state, LabelState::kUnknown);
  EXPECT_EQ(unwitnessed.faults.size(), 1U);
  fault.state.set_phase(v1::PHASE_INTERFERED);
  fault.state.set_deadline_boottime_ns(180);
  fault.recovered_ns = fault.End();
  EXPECT_EQ(LabelOf({fault}, 160, 180).fault_active, true);
  EXPECT_EQ(LabelOf({fault}, 180, 190).state, LabelState::kNormal);
}

TEST(Label, LinkFaultThatNobodyUndidEndsAtItsDeadline) {
  FaultInterval fault = Fault();
  fault.state.mutable_edges()->clear_undone();
  fault.state.set_phase(v1::PHASE_VERIFIED);
  fault.state.set_deadline_boottime_ns(180);
  fault.state.add_changes()->set_kind("link");
  fault.recovered_ns = fault.End();
  EXPECT_TRUE(LabelOf({fault}, 170, 180, "boot", {}, {"f"}).label);
  EXPECT_EQ(LabelOf({fault}, 175, 185, "boot", {}, {"f"}).state, LabelState::kTransition);
  EXPECT_FALSE(LabelOf({fault}, 180, 190, "boot", {}, {"f"}).label);
  EXPECT_EQ(LabelOf({fault}, 180, 190, "boot", {}, {"f"}).fault_active, false);
  fault.state.add_changes()->set_kind("net_class");
  EXPECT_EQ(fault.End(), 180);
  // A value stays until somebody writes the old one back.
  fault.state.add_changes()->set_kind("cgroup_value");
  EXPECT_TRUE(LabelOf({fault}, 180, 190, "boot", {}, {"f"}).label);
  fault.state.clear_changes();
  EXPECT_TRUE(LabelOf({fault}, 180, 190, "boot", {}, {"f"}).label);
}

TEST(Label, OfAFaultWhoseInjectorDiedIsATransitionWhereItsEndMayLie) {
  // Undone at 200 by the next injector, at some time since the last stamp in its journal, 120; the
  // node had told of a touch at 150.
  FaultInterval fault = Fault();
  fault.state.mutable_edges()->mutable_undone()->set_error_ns(80);
  EXPECT_EQ(fault.SureEnd(), 150);
  EXPECT_TRUE(LabelOf({fault}, 130, 150).label);
  for (const std::int64_t begin : {145, 150, 160, 170, 180, 190}) {
    const WindowLabel label = LabelOf({fault}, begin, begin + 10);
    EXPECT_FALSE(label.label) << begin;
    EXPECT_EQ(label.fault_active, begin < 150 ? std::optional(true) : std::nullopt) << begin;
    EXPECT_EQ(label.state, LabelState::kTransition) << begin;
  }
  EXPECT_EQ(LabelOf({fault}, 200, 210).state, LabelState::kRecovery);
  EXPECT_EQ(LabelOf({fault}, 200, 210).fault_active, false);
  // Not seen and not known to be over: no transition hides it.
  EXPECT_EQ(LabelOf({fault}, 130, 140, "boot", {{"boot", 125, 1000}}).state, LabelState::kUnknown);
}

TEST(Label, FirstTouchMayLieWithinItsError) {
  FaultInterval fault = Fault();
  fault.state.mutable_edges()->mutable_first_touch()->set_error_ns(5);
  EXPECT_EQ(LabelOf({fault}, 111, 114).state, LabelState::kFault);
  EXPECT_EQ(LabelOf({fault}, 114, 117).state, LabelState::kTransition);
  EXPECT_TRUE(LabelOf({fault}, 120, 125).label);
  // Nothing came before the command, however large the error is.
  fault.state.mutable_edges()->mutable_first_touch()->set_error_ns(100);
  EXPECT_EQ(LabelOf({fault}, 80, 100).state, LabelState::kNormal);
}

TEST(Label, OfAnotherBootDoesNotMatch) {
  EXPECT_EQ(LabelOf({Fault()}, 130, 140, "next boot").state, LabelState::kNormal);
  EXPECT_EQ(LabelOf({Fault()}, 130, 140, "").state, LabelState::kFault);
}

TEST(Label, OfTwoFaultsNamesBothAndTransitionWins) {
  FaultInterval second = Fault(v1::VERDICT_NO_EFFECT);
  second.state.mutable_spec()->set_id("g");
  second.state.mutable_edges()->mutable_commanded()->set_boottime_ns(140);
  second.state.mutable_edges()->mutable_acked()->set_boottime_ns(145);
  const WindowLabel label = LabelOf({Fault(), second}, 140, 150);
  EXPECT_TRUE(label.label);
  EXPECT_EQ(label.state, LabelState::kTransition);
  ASSERT_EQ(label.faults.size(), 2U);
  EXPECT_EQ(label.faults[0]->state.spec().id(), "f");
}

TEST(Label, IsUnknownWhereTheInjectorWasNotSeen) {
  const std::vector<Span> unseen = {{"boot", 40, 60}};
  EXPECT_EQ(LabelOf({Fault()}, 30, 40, "boot", unseen).state, LabelState::kNormal);
  EXPECT_EQ(LabelOf({Fault()}, 30, 50, "boot", unseen).state, LabelState::kUnknown);
  EXPECT_EQ(LabelOf({Fault()}, 30, 50, "next boot", unseen).state, LabelState::kNormal);
  // A fault that nobody watched may have ended with its injector: no 1 without a witness.
  EXPECT_EQ(LabelOf({Fault()}, 130, 140, "boot", {{"boot", 0, 1000}}).state, LabelState::kUnknown);
  EXPECT_FALSE(LabelOf({Fault()}, 130, 140, "boot", {{"boot", 0, 1000}}).label);
}

TEST(Label, TakesTheNodesWordForAFaultThatIsNotKnown) {
  const IntervalTable table({}, {});
  v1::Frame frame;
  frame.set_begin_boottime_ns(1);
  frame.set_end_boottime_ns(2);
  frame.add_active_faults("lost");
  const WindowLabel label = table.Label(frame, "boot");
  EXPECT_EQ(label.fault_active, true);
  EXPECT_TRUE(label.facts_differ);
  EXPECT_FALSE(label.label);
  EXPECT_EQ(label.state, LabelState::kUnknown);
  ASSERT_EQ(label.unknown_faults.size(), 1U);
}

TEST(IsTarget, OfGroupsInsideInterfacesAndTheHost) {
  v1::FaultState fault;
  fault.set_cgroup("/web");
  EXPECT_TRUE(IsTarget(fault, "cgroup", "/web"));
  EXPECT_TRUE(IsTarget(fault, "cgroup", "/web/worker"));
  EXPECT_FALSE(IsTarget(fault, "cgroup", "/website"));
  EXPECT_FALSE(IsTarget(fault, "host", "host"));
  v1::FaultState host;
  host.mutable_spec()->mutable_target()->set_host(true);
  EXPECT_TRUE(IsTarget(host, "host", "host"));
  EXPECT_FALSE(IsTarget(host, "cgroup", "/web"));
  v1::FaultState device;
  device.mutable_spec()->mutable_target()->set_interface("eth0");
  EXPECT_TRUE(IsTarget(device, "netdev", "eth0"));
  EXPECT_FALSE(IsTarget(device, "netdev", "lo"));
}

}  // namespace
}  // namespace faultline
