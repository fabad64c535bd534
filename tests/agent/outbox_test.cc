// SPDX-License-Identifier: Apache-2.0
#include "agent/uplink/outbox.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>

#include "tests/agent/decode.h"

namespace faultline {
namespace {

// A batch of `values` random values that does not compress.
v1::Batch MakeBatch(std::int64_t tick, int values) {
  static std::mt19937_64 random(3);
  v1::Batch batch;
  batch.set_schema_id(42);
  v1::Frame* frame = batch.add_frames();
  frame->set_tick(tick);
  frame->set_begin_boottime_ns(tick * 100);
  frame->set_end_boottime_ns(tick * 100 + 100);
  v1::ColumnFrame* column = frame->add_tables()->add_columns();
  for (int i = 0; i < values; ++i) column->add_values(static_cast<std::int64_t>(random() >> 2));
  return batch;
}

TEST(Outbox, Put_ComesBackInOrderUntilAcknowledged) {
  Outbox outbox("epoch", 1 << 20);
  for (int i = 1; i <= 3; ++i) outbox.Put(MakeBatch(i, 4));
  EXPECT_EQ(outbox.After(0)->sequence(), 1U);
  EXPECT_EQ(outbox.After(0)->epoch(), "epoch");
  EXPECT_EQ(Decode(*outbox.After(1)).frames(0).tick(), 2);
  EXPECT_FALSE(outbox.After(3).has_value());
  outbox.Acknowledge(2);
  EXPECT_EQ(outbox.size(), 1U);
  EXPECT_EQ(outbox.After(0)->sequence(), 3U);
  // An acknowledgement that was overtaken says nothing.
  outbox.Acknowledge(1);
  EXPECT_EQ(outbox.size(), 1U);
}

// Walks what is left: every sequence is a batch or lies in a gap, samples add up.
TEST(Outbox, Put_BeyondTheBound_EverySequenceIsHeldOrInAGap) {
  Outbox outbox("epoch", 64 << 10);
  constexpr int kBatches = 300;
  constexpr int kValues = 200;
  for (int i = 1; i <= kBatches; ++i) outbox.Put(MakeBatch(i, kValues));
  EXPECT_GT(outbox.lost(), 0U);
  std::set<std::uint64_t> seen;
  std::int64_t samples = 0;
  std::int64_t lost_samples = 0;
  std::uint64_t last = 0;
  while (std::optional<v1::EncodedBatch> encoded = outbox.After(last)) {
    const v1::Batch batch = Decode(*encoded);
    // A collector takes no batch, and so no gap record, without a schema that it knows.
    EXPECT_EQ(batch.schema_id(), 42U);
    for (const v1::Gap& gap : batch.gaps()) {
      EXPECT_EQ(gap.first_sequence(), last + 1);
      EXPECT_EQ(gap.last_sequence(), encoded->sequence());
      EXPECT_EQ(gap.reason(), "buffer_full");
      EXPECT_EQ(gap.begin_boottime_ns(), static_cast<std::int64_t>(last + 1) * 100);
      lost_samples += gap.samples();
      for (std::uint64_t s = gap.first_sequence(); s <= gap.last_sequence(); ++s) seen.insert(s);
    }
    if (batch.gaps().empty()) {
      samples += batch.frames(0).tables(0).columns(0).values_size();
      EXPECT_TRUE(seen.insert(encoded->sequence()).second);
    }
    last = encoded->sequence();
  }
  EXPECT_EQ(seen.size(), static_cast<size_t>(kBatches));
  EXPECT_EQ(samples + lost_samples, kBatches * kValues);
  EXPECT_EQ(*seen.rbegin(), static_cast<std::uint64_t>(kBatches));
}

TEST(Outbox, Reject_LeavesAGapRecordInItsPlace) {
  Outbox outbox("epoch", 1 << 20);
  for (int i = 1; i <= 3; ++i) outbox.Put(MakeBatch(i, 4));
  EXPECT_TRUE(outbox.Reject(2, "bad"));
  EXPECT_EQ(outbox.After(1)->sequence(), 2U);
  EXPECT_EQ(outbox.After(1)->epoch(), "epoch");
  const v1::Batch batch = Decode(*outbox.After(1));
  EXPECT_EQ(batch.schema_id(), 42U);
  EXPECT_EQ(batch.frames_size(), 0);
  ASSERT_EQ(batch.gaps_size(), 1);
  EXPECT_EQ(batch.gaps(0).epoch(), "epoch");
  EXPECT_EQ(batch.gaps(0).first_sequence(), 2U);
  EXPECT_EQ(batch.gaps(0).last_sequence(), 2U);
  EXPECT_EQ(batch.gaps(0).begin_boottime_ns(), 200);
  EXPECT_EQ(batch.gaps(0).end_boottime_ns(), 300);
  EXPECT_EQ(batch.gaps(0).samples(), 4);
  EXPECT_EQ(batch.gaps(0).reason(), "rejected");
  EXPECT_EQ(outbox.After(2)->sequence(), 3U);
  EXPECT_EQ(outbox.lost(), 1U);
}

TEST(Outbox, Reject_NullsAreNoSamples) {
  Outbox outbox("epoch", 1 << 20);
  v1::Batch batch = MakeBatch(1, 4);
  // A column of two nulls and nothing else, as Encode writes it, and one null beside a value.
  batch.mutable_frames(0)->mutable_tables(0)->add_columns()->set_nulls("\x03");
  v1::ColumnFrame* column = batch.mutable_frames(0)->mutable_tables(0)->add_columns();
  column->add_values(0);
  column->add_values(7);
  column->set_nulls("\x01");
  outbox.Put(batch);
  outbox.Reject(1, "bad");
  EXPECT_EQ(Decode(*outbox.After(0)).gaps(0).samples(), 5);
}

TEST(Outbox, Reject_OfTheGapRecordItself_NothingIsSentAgainAndTheAckEndsIt) {
  Outbox outbox("epoch", 1 << 20);
  for (int i = 1; i <= 2; ++i) outbox.Put(MakeBatch(i, 4));
  EXPECT_TRUE(outbox.Reject(1, "bad"));
  EXPECT_FALSE(outbox.Reject(1, "bad again"));
  EXPECT_EQ(outbox.lost(), 1U);
  EXPECT_EQ(outbox.size(), 2U);
  outbox.Acknowledge(1);
  EXPECT_EQ(outbox.size(), 1U);
  EXPECT_EQ(outbox.After(0)->sequence(), 2U);
  // Of what is acknowledged nothing is held.
  EXPECT_FALSE(outbox.Reject(1, "late"));
}

TEST(Outbox, Reject_OfASequenceThatAFullBufferSwallowed_TheRangesRecordIsSent) {
  Outbox outbox("epoch", 64 << 10);
  for (int i = 1; i <= 300; ++i) outbox.Put(MakeBatch(i, 200));
  const std::uint64_t last = outbox.After(0)->sequence();
  ASSERT_GT(last, 2U);
  const std::uint64_t lost = outbox.lost();
  EXPECT_TRUE(outbox.Reject(2, "bad"));
  EXPECT_EQ(outbox.After(1)->sequence(), last);
  EXPECT_EQ(Decode(*outbox.After(1)).gaps(0).reason(), "buffer_full");
  EXPECT_EQ(outbox.lost(), lost);
}

TEST(Outbox, Reject_OfTheGapRecordOnTheNextStreamToo_ItIsSentOnceMore) {
  Outbox outbox("epoch", 1 << 20);
  outbox.Put(MakeBatch(1, 4));
  EXPECT_TRUE(outbox.Reject(1, "bad"));
  outbox.ForgetRefusals();
  EXPECT_TRUE(outbox.Reject(1, "bad"));
  EXPECT_FALSE(outbox.Reject(1, "bad"));
  EXPECT_EQ(outbox.lost(), 1U);
}

TEST(Outbox, Put_BeyondTheBound_WhatWasSaidOfFaultsAndOfTheSamplingStays) {
  Outbox outbox("epoch", 64 << 10);
  for (int i = 1; i <= 300; ++i) {
    v1::Batch batch = MakeBatch(i, 200);
    if (i == 2 || i == 40) {
      v1::FaultState* const fault = batch.add_faults();
      fault->mutable_spec()->set_id("f1");
      fault->set_phase(i == 2 ? v1::PHASE_VERIFIED : v1::PHASE_UNDONE);
    }
    if (i == 3) batch.add_faults()->mutable_spec()->set_id("f2");
    if (i == 1 || i == 41)
      batch.add_events()->set_kind(i == 1 ? "injector_found" : "injector_lost");
    outbox.Put(batch);
  }
  const v1::Batch record = Decode(*outbox.After(0));
  ASSERT_EQ(record.gaps_size(), 1);
  ASSERT_GT(record.gaps(0).last_sequence(), 41U);
  EXPECT_TRUE(record.frames().empty());
  ASSERT_EQ(record.faults_size(), 2);
  std::map<std::string, v1::Phase> phases;
  for (const v1::FaultState& fault : record.faults()) phases[fault.spec().id()] = fault.phase();
  EXPECT_EQ(phases["f1"], v1::PHASE_UNDONE);
  EXPECT_EQ(phases.count("f2"), 1U);
  ASSERT_EQ(record.events_size(), 2);
  EXPECT_EQ(record.events(0).kind(), "injector_found");
  EXPECT_EQ(record.events(1).kind(), "injector_lost");
}

}  // namespace
}  // namespace faultline
