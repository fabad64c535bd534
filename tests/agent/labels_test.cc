// SPDX-License-Identifier: Apache-2.0
#include "agent/labels/labels.h"

#include <gtest/gtest.h>

#include <vector>

namespace faultline {
namespace {

v1::Schema FaultSchema() {
  v1::Schema schema;
  schema.add_tables()->set_name("host");
  v1::TableSchema* fault = schema.add_tables();
  fault->set_name("fault");
  for (const char* column : {"active", "fault_dose", "fault_dose_total"}) {
    fault->add_columns()->set_name(column);
  }
  return schema;
}

v1::FaultState State(const std::string& id, std::int64_t acked, std::int64_t undone) {
  v1::FaultState state;
  state.mutable_spec()->set_id(id);
  state.mutable_edges()->mutable_acked()->set_boottime_ns(acked);
  state.mutable_edges()->mutable_undone()->set_boottime_ns(undone);
  return state;
}

v1::Frame Window(std::int64_t begin, std::int64_t end) {
  v1::Frame frame;
  frame.set_begin_boottime_ns(begin);
  frame.set_end_boottime_ns(end);
  return frame;
}

TEST(Labels_ActiveIn, IsTrueIfAnyPartOfTheWindowOverlaps) {
  EXPECT_FALSE(ActiveIn(State("a", 0, 0), 100, 200));
  EXPECT_FALSE(ActiveIn(State("a", 201, 0), 100, 200));
  EXPECT_TRUE(ActiveIn(State("a", 150, 0), 100, 200));
  EXPECT_TRUE(ActiveIn(State("a", 50, 100), 100, 200));
  EXPECT_FALSE(ActiveIn(State("a", 50, 99), 100, 200));
  EXPECT_TRUE(ActiveIn(State("a", 120, 130), 100, 200));
}

TEST(Labels_Fill, DoseTravelsAsTheIncrementOfTheWindow) {
  Labels labels(FaultSchema());
  v1::FaultState state = State("f", 150, 0);
  v1::Dose* dose = state.add_dose();
  std::vector<std::int64_t> increments;
  std::uint64_t entity = 0;
  for (const std::int64_t total : {10, 25, 25}) {
    dose->set_value(total);
    v1::Frame frame = Window(100, 200);
    v1::Batch batch;
    labels.Fill({&state, 1}, true, &frame, &batch);
    ASSERT_EQ(frame.tables_size(), 1);
    EXPECT_EQ(frame.tables(0).table(), 1U);
    ASSERT_EQ(frame.tables(0).entities_size(), 1);
    if (entity != 0) {
      EXPECT_EQ(frame.tables(0).entities(0), entity);
    }
    entity = frame.tables(0).entities(0);
    EXPECT_EQ(batch.entities(0).name(), "f");
    EXPECT_EQ(frame.tables(0).columns(0).values(0), 1);
    increments.push_back(frame.tables(0).columns(1).values(0));
    EXPECT_EQ(frame.tables(0).columns(2).values(0), total);
    EXPECT_EQ(frame.active_faults(0), "f");
    // Told once per change.
    EXPECT_EQ(batch.faults_size(), increments.back() == 0 ? 0 : 1);
  }
  EXPECT_EQ(increments, (std::vector<std::int64_t>{10, 15, 0}));
}

TEST(Labels_Fill, WithoutADoseTheValueIsNullNotZero) {
  Labels labels(FaultSchema());
  const std::vector<v1::FaultState> states = {State("a", 150, 0), State("b", 500, 0),
                                              State("c", 150, 160)};
  v1::Frame frame = Window(100, 200);
  v1::Batch batch;
  labels.Fill(states, true, &frame, &batch);
  const v1::TableFrame& table = frame.tables(0);
  ASSERT_EQ(table.entities_size(), 2);
  EXPECT_EQ(table.columns(0).nulls(), "");
  EXPECT_EQ(table.columns(1).nulls(), std::string(1, '\x03'));
  EXPECT_EQ(batch.faults_size(), 3);
}

TEST(Labels_Fill, InjectorUnseen_TheDoseIsNullUntilAWindowIsSeenFromItsBeginning) {
  Labels labels(FaultSchema());
  v1::FaultState state = State("f", 150, 0);
  v1::Dose* dose = state.add_dose();
  struct Step {
    bool seen;
    std::int64_t total;
    bool null;
    std::int64_t increment;
  };
  std::int64_t begin = 100;
  // What came while it was unseen is in no window; then a successor that knows less than the dead.
  for (const Step& step :
       {Step{true, 10, false, 10}, Step{false, 10, true, 0}, Step{false, 10, true, 0},
        Step{true, 30, true, 0}, Step{true, 37, false, 7}, Step{true, 5, true, 0}}) {
    dose->set_value(step.total);
    v1::Frame frame = Window(begin, begin + 100);
    begin += 100;
    v1::Batch batch;
    labels.Fill({&state, 1}, step.seen, &frame, &batch);
    const v1::ColumnFrame& column = frame.tables(0).columns(1);
    EXPECT_EQ(column.nulls(), step.null ? std::string(1, '\x01') : "") << begin;
    EXPECT_EQ(column.values(0), step.increment) << begin;
    // The total is of the moment, so it is known as soon as the injector is seen.
    EXPECT_EQ(frame.tables(0).columns(2).nulls(), step.seen ? "" : std::string(1, '\x01'));
  }
}

TEST(Labels_Fill, FirstSeenAfterAnUnseenWindow_ItsDoseIsNotOfTheWindowAfter) {
  Labels labels(FaultSchema());
  v1::FaultState state = State("f", 150, 0);
  state.add_dose()->set_value(10);
  for (const bool seen : {false, true}) {
    v1::Frame frame = seen ? Window(200, 300) : Window(100, 200);
    v1::Batch batch;
    labels.Fill({&state, 1}, seen, &frame, &batch);
    EXPECT_EQ(frame.tables(0).columns(1).nulls(), std::string(1, '\x01'));
  }
}

TEST(Labels_Fill, BegunAndEndedInOneWindow_TheWholeDoseIsThere) {
  Labels labels(FaultSchema());
  v1::FaultState state = State("f", 150, 160);
  state.set_phase(v1::PHASE_UNDONE);
  state.add_dose()->set_value(725);
  v1::Frame frame = Window(100, 200);
  v1::Batch batch;
  labels.Fill({&state, 1}, true, &frame, &batch);
  ASSERT_EQ(frame.tables(0).entities_size(), 1);
  EXPECT_EQ(frame.tables(0).columns(1).values(0), 725);
  EXPECT_EQ(frame.tables(0).columns(1).nulls(), "");
}

TEST(Labels_Fill, RefusedFaults_AreForgottenAsEndedOnesAre) {
  constexpr std::int64_t kMinute = 60'000'000'000;
  Labels labels(FaultSchema());
  v1::FaultState refused = State("r", 0, 0);
  refused.set_phase(v1::PHASE_REFUSED);
  refused.mutable_edges()->mutable_commanded()->set_boottime_ns(kMinute);
  // Told once, not again after it was forgotten, and by then no more is kept of it.
  for (const std::int64_t begin : {kMinute, 2 * kMinute, 15 * kMinute, 16 * kMinute}) {
    v1::Frame frame = Window(begin, begin + 100);
    v1::Batch batch;
    labels.Fill({&refused, 1}, true, &frame, &batch);
    EXPECT_EQ(batch.faults_size(), begin == kMinute ? 1 : 0);
    EXPECT_EQ(labels.known(), begin < 15 * kMinute ? 1U : 0U);
  }
}

// Told when it is accepted and when it is known that it never begins, however long that took; never
// a row of a frame.
TEST(Labels_Fill, FaultToCome_IsToldAndIsInNoFrame) {
  constexpr std::int64_t kHour = 3'600'000'000'000;
  Labels labels(FaultSchema());
  v1::FaultState state = State("s", 0, 0);
  state.set_phase(v1::PHASE_ACCEPTED);
  state.mutable_edges()->mutable_commanded()->set_boottime_ns(kHour);
  state.set_start_boottime_ns(5 * kHour);
  for (const std::int64_t begin : {kHour, 2 * kHour, 4 * kHour}) {
    if (begin == 4 * kHour) {
      state.set_phase(v1::PHASE_REFUSED);
      state.mutable_edges()->mutable_undone()->set_boottime_ns(4 * kHour);
    }
    v1::Frame frame = Window(begin, begin + 100);
    v1::Batch batch;
    labels.Fill({&state, 1}, true, &frame, &batch);
    EXPECT_EQ(batch.faults_size(), begin == 2 * kHour ? 0 : 1) << begin;
    EXPECT_EQ(frame.active_faults_size(), 0);
    EXPECT_EQ(frame.tables(0).entities_size(), 0);
  }
}

TEST(Labels_Fill, FaultThatTheInjectorNoLongerTells_IsForgotten) {
  Labels labels(FaultSchema());
  const v1::FaultState state = State("f", 150, 0);
  v1::Frame frame = Window(100, 200);
  v1::Batch batch;
  labels.Fill({&state, 1}, true, &frame, &batch);
  EXPECT_EQ(labels.known(), 1U);
  labels.Fill({}, true, &frame, &batch);
  EXPECT_EQ(labels.known(), 0U);
}

TEST(Labels_Fill, FaultOlderThanTheAgent_ItsPastIsNobodysWindow) {
  Labels labels(FaultSchema());
  v1::FaultState state = State("f", 50, 0);
  state.add_dose()->set_value(1000);
  v1::Frame frame = Window(100, 200);
  v1::Batch batch;
  labels.Fill({&state, 1}, true, &frame, &batch);
  EXPECT_EQ(frame.tables(0).columns(1).nulls(), std::string(1, '\x01'));
  EXPECT_EQ(frame.tables(0).columns(2).values(0), 1000);
}

TEST(Labels_Fill, NoFault_TheTableIsThereAndEmpty) {
  Labels labels(FaultSchema());
  v1::Frame frame = Window(100, 200);
  v1::Batch batch;
  labels.Fill({}, true, &frame, &batch);
  ASSERT_EQ(frame.tables_size(), 1);
  EXPECT_EQ(frame.tables(0).columns_size(), 3);
  EXPECT_EQ(frame.tables(0).entities_size(), 0);
}

}  // namespace
}  // namespace faultline
