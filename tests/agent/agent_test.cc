// SPDX-License-Identifier: Apache-2.0
#include "agent/agent.h"

#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "tests/agent/decode.h"
#include "tests/fake_clock.h"

namespace faultline {
namespace {

class OneGauge final : public Sampler {
 public:
  OneGauge() {
    schema_.set_id(42);
    schema_.add_tables()->set_name("host");
    schema_.mutable_tables(0)->add_columns()->set_name("x");
  }
  const v1::Schema& schema() const override { return schema_; }
  void Sample(v1::Frame* frame, v1::Batch* batch) override {
    batch->add_entities()->set_id(1);
    v1::TableFrame* table = frame->add_tables();
    table->add_entities(1);
    table->add_columns()->add_values(++count_);
    if (on_sample_) on_sample_();
  }
  void CountSkippedTicks(std::int64_t ticks) override { skipped_ += ticks; }

  std::int64_t count_ = 0;
  std::int64_t skipped_ = 0;
  std::function<void()> on_sample_;

 private:
  v1::Schema schema_;
};

// One batch per element of `sights`: whether the injector answers at that tick.
std::vector<v1::Batch> RunWithInjector(const std::vector<Sight>& sights) {
  FakeClock clock(/*jump=*/true);
  OneGauge sampler;
  Outbox outbox("epoch", 1 << 20);
  std::stop_source stop;
  size_t ticks = 0;
  Agent agent({&sampler, &outbox, &clock,
               [&](bool /*behind*/, Sight* now) {
                 *now = sights[ticks];
                 return std::vector<v1::FaultState>();
               },
               [&] {
                 if (++ticks == sights.size()) stop.request_stop();
               },
               /*watches_injector=*/true},
              kNsPerSecond);
  agent.Run(stop.get_token());
  std::vector<v1::Batch> batches;
  for (std::uint64_t s = 0; s < sights.size(); ++s) batches.push_back(Decode(*outbox.After(s)));
  return batches;
}

// What the batch tells of the injector; other events are left out.
std::vector<v1::Event> InjectorEvents(const v1::Batch& batch) {
  std::vector<v1::Event> events;
  for (const v1::Event& event : batch.events()) {
    if (event.kind().rfind("injector_", 0) == 0) {
      events.push_back(event);
    }
  }
  return events;
}

TEST(Agent_Run, InjectorThatAnswersAtTheFirstTick_IsNeverLost) {
  const std::vector<v1::Batch> batches = RunWithInjector({Sight::kSeen, Sight::kSeen});
  // Told once, as the collector may know it as lost by an agent before this one.
  ASSERT_EQ(InjectorEvents(batches[0]).size(), 1U);
  EXPECT_EQ(InjectorEvents(batches[0])[0].kind(), "injector_found");
  EXPECT_EQ(InjectorEvents(batches[1]).size(), 0U);
}

TEST(Agent_Run, InjectorThatGoes_IsLostFromTheWindowsBeginningUntilItIsFound) {
  const std::vector<v1::Batch> batches =
      RunWithInjector({Sight::kSeen, Sight::kLost, Sight::kLost, Sight::kSeen});
  ASSERT_EQ(InjectorEvents(batches[1]).size(), 1U);
  EXPECT_EQ(InjectorEvents(batches[1])[0].kind(), "injector_lost");
  EXPECT_EQ(InjectorEvents(batches[1])[0].boottime_ns(), batches[1].frames(0).begin_boottime_ns());
  EXPECT_EQ(InjectorEvents(batches[2]).size(), 0U);
  ASSERT_EQ(InjectorEvents(batches[3]).size(), 1U);
  EXPECT_EQ(InjectorEvents(batches[3])[0].kind(), "injector_found");
  EXPECT_EQ(InjectorEvents(batches[3])[0].boottime_ns(), batches[3].frames(0).end_boottime_ns());
}

TEST(Agent_Run, InjectorThatNeverAnswered_IsUnseenFromTheFirstWindowOn) {
  const std::vector<v1::Batch> batches = RunWithInjector({Sight::kLost, Sight::kLost});
  ASSERT_EQ(InjectorEvents(batches[0]).size(), 1U);
  EXPECT_EQ(InjectorEvents(batches[0])[0].kind(), "injector_lost");
  EXPECT_EQ(InjectorEvents(batches[0])[0].boottime_ns(), batches[0].frames(0).begin_boottime_ns());
  EXPECT_EQ(InjectorEvents(batches[1]).size(), 0U);
}

TEST(Agent_Run, InjectorThatIsAbsent_EndsTheWindowsThatNobodyCouldSee) {
  const std::vector<v1::Batch> batches =
      RunWithInjector({Sight::kAbsent, Sight::kAbsent, Sight::kLost, Sight::kAbsent, Sight::kSeen});
  const std::vector<std::string> told{"injector_absent", "", "injector_lost", "injector_absent",
                                      "injector_found"};
  for (size_t i = 0; i < told.size(); ++i) {
    const std::vector<v1::Event> events = InjectorEvents(batches[i]);
    ASSERT_EQ(events.size(), told[i].empty() ? 0U : 1U) << i;
    if (told[i].empty()) continue;
    EXPECT_EQ(events[0].kind(), told[i]);
    const v1::Frame& frame = batches[i].frames(0);
    EXPECT_EQ(events[0].boottime_ns(),
              told[i] == "injector_lost" ? frame.begin_boottime_ns() : frame.end_boottime_ns());
  }
}

TEST(Agent_Run, InjectorThatAnswersLate_IsLostOnlyIfTheNextTickFindsItSo) {
  const std::vector<v1::Batch> busy =
      RunWithInjector({Sight::kSeen, Sight::kLate, Sight::kSeen, Sight::kLost});
  for (const int tick : {1, 2}) EXPECT_EQ(InjectorEvents(busy[tick]).size(), 0U) << tick;
  ASSERT_EQ(InjectorEvents(busy[3]).size(), 1U);
  EXPECT_EQ(InjectorEvents(busy[3])[0].boottime_ns(), busy[3].frames(0).begin_boottime_ns());

  const std::vector<v1::Batch> gone =
      RunWithInjector({Sight::kSeen, Sight::kLate, Sight::kLate, Sight::kLost, Sight::kSeen});
  for (const int tick : {1, 2}) EXPECT_EQ(InjectorEvents(gone[tick]).size(), 0U) << tick;
  ASSERT_EQ(InjectorEvents(gone[3]).size(), 1U);
  EXPECT_EQ(InjectorEvents(gone[3])[0].kind(), "injector_lost");
  EXPECT_EQ(InjectorEvents(gone[3])[0].boottime_ns(), gone[1].frames(0).begin_boottime_ns());
  EXPECT_EQ(InjectorEvents(gone[4])[0].kind(), "injector_found");
}

TEST(Agent_Run, TheFirstBatchAloneSaysThatTheAgentStarted) {
  const std::vector<v1::Batch> batches = RunWithInjector({Sight::kSeen, Sight::kSeen});
  ASSERT_GE(batches[0].events_size(), 1);
  EXPECT_EQ(batches[0].events(0).kind(), "agent_started");
  EXPECT_EQ(batches[0].events(0).boottime_ns(), batches[0].frames(0).begin_boottime_ns());
  EXPECT_EQ(batches[1].events_size(), 0);
}

TEST(Agent_Run, TickThatComesLate_AsksForWhatTheWatchMayNotHaveTold) {
  FakeClock clock(/*jump=*/true);
  OneGauge sampler;
  Outbox outbox("epoch", 1 << 20);
  std::stop_source stop;
  std::vector<bool> asked;
  // Stopped in the middle of the second tick.
  sampler.on_sample_ = [&] {
    if (asked.size() == 1) clock.Advance(1500 * kNsPerMs);
  };
  Agent agent({&sampler, &outbox, &clock,
               [&](bool behind, Sight* sight) {
                 asked.push_back(behind);
                 *sight = Sight::kSeen;
                 return std::vector<v1::FaultState>();
               },
               [&] {
                 if (asked.size() == 4) stop.request_stop();
               }},
              kNsPerSecond);
  agent.Run(stop.get_token());
  EXPECT_EQ(asked, (std::vector<bool>{false, true, false, false}));
}

TEST(Agent_Run, WindowsTouchAndTicksRise) {
  FakeClock clock(/*jump=*/true);
  OneGauge sampler;
  Outbox outbox("epoch", 1 << 20);
  std::stop_source stop;
  int batches = 0;
  Agent agent({&sampler, &outbox, &clock,
               [](bool /*behind*/, Sight* sight) {
                 *sight = Sight::kLost;
                 return std::vector<v1::FaultState>();
               },
               [&] {
                 ++batches;
                 // A stall of three intervals and a half after the second tick.
                 if (batches == 2) clock.Advance(3500 * kNsPerMs);
                 if (batches == 4) clock.StepRealtime(-7200 * kNsPerSecond);
                 if (batches == 6) stop.request_stop();
               }},
              kNsPerSecond);
  agent.Run(stop.get_token());
  ASSERT_EQ(outbox.size(), 6U);
  std::int64_t end = 0;
  std::int64_t index = 0;
  int steps = 0;
  for (std::uint64_t s = 0; s < 6; ++s) {
    const v1::Batch batch = Decode(*outbox.After(s));
    EXPECT_EQ(batch.schema_id(), 42U);
    const v1::Frame& frame = batch.frames(0);
    if (end != 0) {
      EXPECT_EQ(frame.begin_boottime_ns(), end);
    }
    end = frame.end_boottime_ns();
    EXPECT_GT(frame.tick(), index);
    index = frame.tick();
    for (const v1::Event& event : batch.events()) steps += event.kind() == "clock_step" ? 1 : 0;
  }
  EXPECT_EQ(sampler.skipped_, 3);
  EXPECT_EQ(steps, 1);
}

}  // namespace
}  // namespace faultline
