// SPDX-License-Identifier: Apache-2.0
#include "injector/hour_share.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <optional>
#include <utility>

#include "tests/injector/controller_fixture.h"

namespace faultline {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr std::int64_t kMinuteNs = 60 * kNsPerSecond;

Interval Minutes(std::int64_t begin, std::int64_t end) {
  return {begin * kMinuteNs, end * kMinuteNs};
}

// Minutes, by order.
using Span = std::vector<std::pair<std::int64_t, std::int64_t>>;
Span Spans(const std::vector<Interval>& intervals) {
  Span spans;
  for (const Interval& one : intervals) {
    spans.emplace_back(one.begin_ns / kMinuteNs, one.end_ns / kMinuteNs);
  }
  return spans;
}

// 12:00:00 on 1 January 2026, at 1000 minutes since the boot.
constexpr Instant kNow{1000 * kMinuteNs, 1767268800 * kNsPerSecond};

TEST(HourShare, CountsWhatLiesInAnyHour) {
  struct Case {
    const char* name;
    Interval wanted;
    std::vector<Interval> taken;
    bool allowed;
  };
  const Case cases[] = {
      {"alone", Minutes(1000, 1030), {}, true},
      {"alone and too long", Minutes(1000, 1031), {}, false},
      {"after others", Minutes(1000, 1010), {Minutes(955, 975)}, true},
      {"just too much", Minutes(1000, 1011), {Minutes(955, 975)}, false},
      {"others that are long over", Minutes(1000, 1030), {Minutes(900, 940)}, true},
      {"beside another", Minutes(1000, 1020), {Minutes(990, 1020)}, true},
      {"two beside each other",
       Minutes(1000, 1025),
       {Minutes(995, 1015), Minutes(995, 1020)},
       true},
      {"longer than another", Minutes(1000, 1025), {Minutes(990, 1020)}, false},
      {"before a later one", Minutes(1000, 1010), {Minutes(1035, 1058)}, false},
      {"well before a later one", Minutes(1000, 1010), {Minutes(1060, 1090)}, true},
      {"between two", Minutes(1000, 1005), {Minutes(970, 985), Minutes(1015, 1030)}, false},
      {"more than allowed before, elsewhere", Minutes(1000, 1030), {Minutes(890, 940)}, true},
  };
  for (const Case& each : cases) {
    EXPECT_EQ(CheckHourShare(50, each.wanted, each.taken, kNow).ok(), each.allowed) << each.name;
    EXPECT_TRUE(CheckHourShare(100, each.wanted, each.taken, kNow).ok()) << each.name;
  }
}

TEST(HourShare, RefusalHasTheFiguresAndTheTime) {
  EXPECT_EQ(
      CheckHourShare(50, Minutes(1000, 1045), {}, kNow).message(),
      "this host allows faults for 50 % of any hour, 30m (max-hour-share), and this one alone "
      "lasts 45m; give it a shorter duration");
  // In an hour from minute 960 on there are 20 taken; from 970 on no more than 10 are.
  EXPECT_EQ(CheckHourShare(50, Minutes(1000, 1020), {Minutes(960, 980)}, kNow).message(),
            "this host allows faults for 50 % of any hour, 30m (max-hour-share), and with this one "
            "of 20m it could be 40m; it could begin at 12:10:01Z, or be shorter");
}

// Others' deadlines wait for the search: among very many it ends without a time.
TEST(HourShare, LooksForATimeNoLongerThanOthersCanWait) {
  const auto refusal = [](std::int64_t count) {
    const std::int64_t begin_ns = 960 * kMinuteNs;
    const std::int64_t each_ns = 20 * kMinuteNs / count;
    std::vector<Interval> taken;
    for (std::int64_t i = 0; i < count; ++i) {
      taken.push_back({begin_ns + i * each_ns, begin_ns + i * each_ns + each_ns / 2});
    }
    return std::string(CheckHourShare(5, Minutes(1000, 1001), taken, kNow).message());
  };
  EXPECT_THAT(refusal(10), HasSubstr("it could begin at"));
  EXPECT_THAT(refusal(50'000), HasSubstr("give it a shorter duration"));
}

TEST(HourShare, PlacesTheFaultsOfAnotherBootByTheWallClock) {
  v1::FaultState state;
  state.set_phase(v1::PHASE_UNDONE);
  state.set_boot_id("before");
  v1::Edge* commanded = state.mutable_edges()->mutable_commanded();
  commanded->set_boottime_ns(7 * kMinuteNs);
  commanded->set_realtime_ns(kNow.realtime_ns - 20 * kMinuteNs);
  v1::Edge* undone = state.mutable_edges()->mutable_undone();
  undone->set_boottime_ns(12 * kMinuteNs);
  const std::optional<Taken> taken = TakenBy(state);
  ASSERT_TRUE(taken.has_value());
  TakenTime time("now");
  time.Add(*taken);
  const Instant now{10 * kMinuteNs, kNow.realtime_ns};
  EXPECT_EQ(Spans(time.At(now)), (Span{{-10, -5}}));
  // That clock is set ten minutes on.
  const Instant set{now.boottime_ns, now.realtime_ns + 10 * kMinuteNs};
  EXPECT_EQ(Spans(time.At(set)), (Span{{-20, -15}}));
  // A clock that is two hours on for a while makes nothing forgotten; an hour of this boot does.
  time.Forget({59 * kMinuteNs, now.realtime_ns + 169 * kMinuteNs});
  EXPECT_EQ(time.At(now).size(), 1u);
  time.Forget({60 * kMinuteNs, now.realtime_ns + 50 * kMinuteNs});
  EXPECT_TRUE(time.At(now).empty());
}

// The power was off in between: what nobody saw took no more than was asked for.
TEST(HourShare, WhatEndedUnseen_TookNoMoreThanItsTime) {
  v1::FaultState state;
  state.set_phase(v1::PHASE_UNDONE);
  state.mutable_edges()->mutable_commanded()->set_boottime_ns(7 * kMinuteNs);
  state.set_deadline_boottime_ns(9 * kMinuteNs);
  v1::Edge* undone = state.mutable_edges()->mutable_undone();
  undone->set_boottime_ns(53 * kMinuteNs);
  undone->set_error_ns(45 * kMinuteNs);
  EXPECT_EQ(TakenBy(state)->interval.end_ns, 53 * kMinuteNs) << "undo took that long";
  state.set_ended_with_boot(true);
  EXPECT_EQ(TakenBy(state)->interval.end_ns, 9 * kMinuteNs);
  // It was seen to be there beyond its deadline.
  undone->set_error_ns(40 * kMinuteNs);
  EXPECT_EQ(TakenBy(state)->interval.end_ns, 13 * kMinuteNs);
}

TEST(HourShare, WhatTookNothing_IsNotKept) {
  v1::FaultState state;
  state.set_phase(v1::PHASE_UNDONE);
  state.mutable_edges()->mutable_commanded()->set_boottime_ns(7 * kMinuteNs);
  state.mutable_edges()->mutable_undone()->set_boottime_ns(12 * kMinuteNs);
  EXPECT_TRUE(TakenBy(state).has_value());
  v1::FaultState other = state;
  other.set_sham(true);
  EXPECT_FALSE(TakenBy(other).has_value());
  other = state;
  other.set_hold(true);
  EXPECT_FALSE(TakenBy(other).has_value());
  // It was cancelled a moment after its start.
  other = state;
  other.set_phase(v1::PHASE_REFUSED);
  EXPECT_FALSE(TakenBy(other).has_value());
}

TEST(HourShare, PartsThatTouchAreOne_InWhateverOrderTheyCome) {
  const std::vector<Interval> parts = {Minutes(990, 995), Minutes(960, 970), Minutes(995, 996),
                                       Minutes(980, 985), Minutes(965, 982), Minutes(930, 941),
                                       Minutes(981, 983)};
  TakenTime time("now");
  for (const Interval& part : parts) time.Add({"now", part, 0});
  EXPECT_EQ(Spans(time.At(kNow)), (Span{{930, 941}, {960, 985}, {990, 996}}));
  time.Forget(kNow);
  EXPECT_EQ(time.At(kNow).size(), 3u);
  time.Forget({kNow.boottime_ns + kMinuteNs, kNow.realtime_ns});
  EXPECT_EQ(Spans(time.At(kNow)), (Span{{960, 985}, {990, 996}}));
}

class HourShareOfAHost : public ::testing::Test {
 protected:
  HourShareOfAHost() {
    world_.guard.max_hour_share = 50;
    world_.Crash();
    world_.Boot();
  }
  static v1::FaultSpec Spec(const std::string& type, const std::string& id, std::int64_t minutes) {
    v1::FaultSpec spec = ControllerWorld::Spec(type, id);
    spec.set_duration_ns(minutes * kMinuteNs);
    return spec;
  }
  ControllerWorld world_;
};

TEST_F(HourShareOfAHost, CountsWhatWasAndWhatIs_NotWhatWasOnlyAskedFor) {
  ASSERT_TRUE(world_.controller->Start(Spec("cpu.limit", "a", 20)).ok());
  const auto refused = world_.controller->Start(Spec("process.pause", "b", 31));
  EXPECT_TRUE(absl::IsFailedPrecondition(refused.status())) << refused.status();
  // Beside the first it takes nothing more.
  EXPECT_TRUE(world_.controller->Start(Spec("process.pause", "c", 20)).ok());
  world_.Pass(5 * kMinuteNs);
  ASSERT_TRUE(world_.controller->Stop("a").ok());
  ASSERT_TRUE(world_.controller->Stop("c").ok());
  EXPECT_TRUE(world_.controller->Validate(Spec("cpu.limit", "d", 25)).ok());
  const auto too_long = world_.controller->Validate(Spec("cpu.limit", "d", 26));
  EXPECT_THAT(
      std::string(too_long.status().message()),
      AllOf(HasSubstr("with this one of 26m it could be 31m"), HasSubstr("could begin at")));
  // What is known of it comes from the journal.
  world_.Crash();
  world_.Boot();
  EXPECT_FALSE(world_.controller->Validate(Spec("cpu.limit", "d", 26)).ok());
  world_.Pass(60 * kMinuteNs);
  EXPECT_TRUE(world_.controller->Validate(Spec("cpu.limit", "d", 30)).ok());
}

// More of them than the journal keeps rows of.
TEST_F(HourShareOfAHost, CountsHoweverManyThereWere) {
  constexpr int kFaults = Journal::kKept + 20;
  for (int i = 0; i < kFaults; ++i) {
    const std::string id = absl::StrCat("f", i);
    ASSERT_TRUE(world_.controller->Start(Spec("cpu.limit", id, 1)).ok());
    world_.Pass(kNsPerSecond);
    ASSERT_TRUE(world_.controller->Stop(id).ok());
    world_.Pass(kNsPerSecond / 2);
  }
  // 1020 s of the last 1530.
  const auto check = [this] {
    EXPECT_TRUE(world_.controller->Validate(Spec("cpu.limit", "ok", 13)).ok());
    const auto more = world_.controller->Validate(Spec("cpu.limit", "no", 14));
    EXPECT_THAT(std::string(more.status().message()),
                HasSubstr("with this one of 14m it could be 31m"));
  };
  check();
  world_.Crash();
  world_.Boot();
  check();
}

// They fill the journal's list, and what is no longer in it counts all the same.
TEST_F(HourShareOfAHost, CountsWhatShamsAndCancelledOnesFollowed) {
  ASSERT_TRUE(world_.controller->Start(Spec("cpu.limit", "a", 25)).ok());
  world_.Pass(25 * kMinuteNs);
  for (int i = 0; i < Journal::kKept / 2 + 10; ++i) {
    const std::string sham = absl::StrCat("s", i);
    ASSERT_TRUE(world_.controller->Start(Spec("sham", sham, 5)).ok());
    ASSERT_TRUE(world_.controller->Stop(sham).ok());
    v1::FaultSpec later = Spec("cpu.limit", absl::StrCat("c", i), 5);
    later.set_start_delay_ns(kMinuteNs);
    ASSERT_TRUE(world_.controller->Start(later).ok());
    ASSERT_TRUE(world_.controller->Stop(later.id()).ok());
  }
  for (const bool restarted : {false, true}) {
    if (restarted) {
      world_.Crash();
      world_.Boot();
    }
    EXPECT_EQ(world_.Find("a").phase(), v1::PHASE_UNSPECIFIED);
    EXPECT_TRUE(world_.controller->Validate(Spec("cpu.limit", "ok", 5)).ok());
    EXPECT_FALSE(world_.controller->Validate(Spec("cpu.limit", "no", 6)).ok());
  }
  // Another boot: half an hour later by the wall clock.
  world_.Crash();
  world_.boot_id = "next-boot";
  world_.clock.Advance(20 * kMinuteNs);
  world_.clock.Reboot();
  world_.Boot();
  EXPECT_FALSE(world_.controller->Validate(Spec("cpu.limit", "no", 21)).ok());
  world_.clock.Advance(20 * kMinuteNs);
  EXPECT_TRUE(world_.controller->Validate(Spec("cpu.limit", "ok", 30)).ok());
}

TEST_F(HourShareOfAHost, ShamAndHold_TakeNothing) {
  ASSERT_TRUE(world_.controller->Start(Spec("sham", "a", 60)).ok());
  EXPECT_TRUE(world_.controller->Start(Spec("process.pause", "b", 30)).ok());
}

}  // namespace
}  // namespace faultline
