// SPDX-License-Identifier: Apache-2.0
#include "collector/check.h"

#include <gtest/gtest.h>

#include <functional>
#include <random>
#include <string>
#include <vector>

#include "collector/memory_bound.h"
#include "tests/collector/batch_builder.h"

namespace faultline {
namespace {

const std::string kEpoch = "epoch-0123456789";

v1::Batch GoodBatch() {
  BatchBuilder builder;
  const auto host = builder.Entity("host", "host");
  const auto web = builder.Entity("cgroup", "/web");
  const auto database = builder.Entity("cgroup", "/db");
  builder.Frame(1, 10, 20, 5);
  builder.Row("host", host, {Cell(1), Cell(2)});
  builder.Row("cgroup", web, {Cell(1), Cell::Null(), Cell::Histogram({3, 300})});
  builder.Row("cgroup", database, {Cell(1), Cell(2), Cell::Null()});
  builder.batch().add_faults()->mutable_spec()->set_id("f");
  auto* gap = builder.batch().add_gaps();
  gap->set_epoch(kEpoch);
  return builder.batch();
}

TEST(CheckBatch, CountsValuesWithoutNulls) {
  const auto samples = CheckBatch(GoodBatch(), TestSchema());
  ASSERT_TRUE(samples.ok()) << samples.status();
  EXPECT_EQ(*samples, 2 + 2 + 2);
}

TEST(CheckBatch, RefusesEverySizeThatDoesNotAgree) {
  struct Case {
    const char* what;
    std::function<void(v1::Batch*)> spoil;
  };
  const auto cgroup = [](v1::Batch* batch) { return batch->mutable_frames(0)->mutable_tables(1); };
  const std::vector<Case> cases = {
      {"unknown table", [&](auto* b) { cgroup(b)->set_table(9); }},
      {"table twice", [&](auto* b) { cgroup(b)->set_table(0); }},
      {"column missing", [&](auto* b) { cgroup(b)->mutable_columns()->RemoveLast(); }},
      {"value too many", [&](auto* b) { cgroup(b)->mutable_columns(0)->add_values(1); }},
      {"null bits short", [&](auto* b) { cgroup(b)->mutable_columns(1)->set_nulls("abc"); }},
      {"entity undescribed", [&](auto* b) { cgroup(b)->set_entities(0, 77); }},
      {"entity of another table", [&](auto* b) { cgroup(b)->set_entities(0, 1); }},
      {"entity twice", [&](auto* b) { cgroup(b)->set_entities(0, cgroup(b)->entities(1)); }},
      {"sum missing", [&](auto* b) { cgroup(b)->mutable_columns(2)->clear_sums(); }},
      {"bucket counts missing",
       [&](auto* b) { cgroup(b)->mutable_columns(2)->clear_bucket_counts(); }},
      {"bucket pairs short", [&](auto* b) { cgroup(b)->mutable_columns(2)->clear_buckets(); }},
      {"bucket of nobody", [&](auto* b) { cgroup(b)->mutable_columns(2)->add_buckets(1); }},
      {"bucket that is none",
       [&](auto* b) { cgroup(b)->mutable_columns(2)->set_buckets(0, HISTOGRAM_BUCKETS); }},
      {"bucket that wraps",
       [&](auto* b) { cgroup(b)->mutable_columns(2)->set_buckets(2, UINT64_MAX); }},
      {"bucket repeated", [&](auto* b) { cgroup(b)->mutable_columns(2)->set_buckets(2, 0); }},
      {"buckets of a counter", [&](auto* b) { cgroup(b)->mutable_columns(0)->add_sums(1); }},
      {"window backwards", [](auto* b) { b->mutable_frames(0)->set_end_boottime_ns(9); }},
      {"window empty", [](auto* b) { b->mutable_frames(0)->set_end_boottime_ns(10); }},
      {"tick twice", [](auto* b) { *b->add_frames() = v1::Frame(b->frames(0)); }},
      {"entity without name", [](auto* b) { b->mutable_entities(0)->clear_name(); }},
      {"entity described twice", [](auto* b) { *b->add_entities() = v1::Entity(b->entities(0)); }},
      {"gap without epoch", [](auto* b) { b->mutable_gaps(0)->clear_epoch(); }},
      {"gap backwards", [](auto* b) { b->mutable_gaps(0)->set_first_sequence(1); }},
  };
  for (const Case& test : cases) {
    v1::Batch batch = GoodBatch();
    test.spoil(&batch);
    const auto samples = CheckBatch(batch, TestSchema());
    EXPECT_TRUE(absl::IsInvalidArgument(samples.status())) << test.what;
  }
}

TEST(LostWith, TakesTheBatchesOwnRecordOrCountsItsFrames) {
  BatchBuilder builder;
  builder.batch() = GoodBatch();
  builder.batch().clear_gaps();
  v1::Gap lost = LostWith(builder.Encode(kEpoch, 7));
  EXPECT_EQ(lost.first_sequence(), 7U);
  EXPECT_EQ(lost.begin_boottime_ns(), 10);
  EXPECT_EQ(lost.end_boottime_ns(), 20);
  EXPECT_EQ(lost.samples(), 6);
  EXPECT_EQ(lost.reason(), "rejected");
  v1::Gap* record = builder.batch().add_gaps();
  record->set_epoch(kEpoch);
  record->set_first_sequence(3);
  record->set_last_sequence(7);
  record->set_samples(99);
  record->set_reason("buffer_full");
  lost = LostWith(builder.Encode(kEpoch, 7));
  EXPECT_EQ(lost.first_sequence(), 3U);
  EXPECT_EQ(lost.samples(), 99);
  EXPECT_EQ(lost.reason(), "buffer_full");
  // Bytes that are nothing: only the sequence is known.
  lost = LostWith(BatchBuilder::EncodeBytes("\xff\xff", kEpoch, 7));
  EXPECT_EQ(lost.last_sequence(), 7U);
  EXPECT_EQ(lost.samples(), 0);
}

TEST(DecodeBatch, RefusesBombsBeforeTheyGrow) {
  // Compresses 1,000 to 1.
  const std::string zeros(kMaxDecodedBytes + 1, '\0');
  v1::EncodedBatch bomb = BatchBuilder::EncodeBytes(zeros, kEpoch, 1);
  EXPECT_TRUE(absl::IsInvalidArgument(DecodeBatch(bomb).status()));
  bomb.set_decoded_bytes(100);
  EXPECT_TRUE(absl::IsInvalidArgument(DecodeBatch(bomb).status()));
  // Two bytes on the wire, a message in memory: an empty entity, 4 million times.
  std::string entities;
  for (int i = 0; i < 4'000'000; ++i) entities += std::string("\x12\x00", 2);
  const auto bound = BatchMemoryBound(entities);
  ASSERT_TRUE(bound.ok());
  EXPECT_GT(*bound, kMaxBatchMemory);
  EXPECT_TRUE(absl::IsInvalidArgument(
      DecodeBatch(BatchBuilder::EncodeBytes(entities, kEpoch, 1)).status()));
}

TEST(DecodeBatch, BoundLiesAboveWhatTheMessageReallyTakes) {
  BatchBuilder builder;
  std::mt19937_64 random(1);
  for (int e = 0; e < 300; ++e) builder.Entity("cgroup", "/some/longer/path/of/a/group");
  for (int f = 1; f < 30; ++f) {
    builder.Frame(f, f, f + 1, 0);
    for (std::uint64_t e = 1; e <= 300; ++e) {
      builder.Row("cgroup", e, {Cell(1), Cell(2), Cell::Histogram({random() % 1000, 5})});
    }
  }
  const auto bound = BatchMemoryBound(builder.batch().SerializeAsString());
  ASSERT_TRUE(bound.ok());
  EXPECT_GT(*bound, builder.batch().SpaceUsedLong());
  EXPECT_LT(*bound, kMaxBatchMemory);
}

TEST(DecodeBatch, SurvivesRandomDamage) {
  BatchBuilder builder;
  builder.batch() = GoodBatch();
  const std::string good = builder.batch().SerializeAsString();
  std::mt19937_64 random(5);
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes = good;
    for (auto flips = 1 + random() % 4; flips > 0; --flips) {
      bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    if (random() % 4 == 0) bytes.resize(random() % bytes.size());
    const auto batch = DecodeBatch(BatchBuilder::EncodeBytes(bytes, kEpoch, 1));
    if (batch.ok()) (void)CheckBatch(*batch, TestSchema());
  }
}

TEST(CheckName, AllowsWhatIsSafeInAPath) {
  for (const char* good : {"a", "node-1.example_x", "..."}) EXPECT_TRUE(CheckName(good, "x").ok());
  for (const char* bad : {"", ".", "..", "a/b", "a b", "a\n", "ä"}) {
    EXPECT_FALSE(CheckName(bad, "x").ok()) << bad;
  }
  EXPECT_FALSE(CheckName(std::string(65, 'a'), "x").ok());
}

}  // namespace
}  // namespace faultline
