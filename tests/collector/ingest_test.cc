// SPDX-License-Identifier: Apache-2.0
#include "collector/ingest.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "collector/collector.h"
#include "collector/store/database.h"
#include "tests/collector/batch_builder.h"
#include "tests/collector/fake_node.h"
#include "tests/fake_clock.h"

namespace faultline {
namespace {

const std::string kIngestEpoch = "epoch-0123456789";
const std::string kOtherEpoch = "epoch-9876543210";

BatchBuilder OneFrame(std::int64_t second) {
  BatchBuilder builder;
  const auto host = builder.Entity("host", "host");
  builder.Frame(second, second * kNsPerSecond, (second + 1) * kNsPerSecond, 1'000 * kNsPerSecond);
  builder.Row("host", host, {Cell(second), Cell::Null()});
  return builder;
}

class IngestTest : public testing::Test {
 protected:
  IngestTest() { Open(); }

  void Open() {
    collector_.reset();
    CollectorOptions options;
    options.listen = "";
    options.state_dir = dir_.path();
    auto collector = Collector::Start(options, &clock_);
    ASSERT_TRUE(collector.ok()) << collector.status();
    collector_ = std::move(*collector);
  }

  std::unique_ptr<FakeNode> Connect() {
    return std::make_unique<FakeNode>(collector_->InProcessChannel());
  }

  std::int64_t Count(const std::string& sql) {
    auto database = Database::Open(dir_.path() + "/collector.db", Database::Mode::kReadOnly);
    EXPECT_TRUE(database.ok());
    Query query(**database, sql.c_str());
    const auto row = query.Next();
    EXPECT_TRUE(row.ok() && *row) << row.status();
    return query.IntAt(0);
  }

  TempDir dir_;
  FakeClock clock_;
  std::unique_ptr<Collector> collector_;
};

TEST_F(IngestTest, BatchIsStoredAsItCameAndAcknowledged) {
  auto node = Connect();
  EXPECT_EQ(node->Hello(TestHello("n1", kIngestEpoch)), 0U);
  const v1::EncodedBatch batch = OneFrame(5).Encode(kIngestEpoch, 1);
  EXPECT_EQ(node->Deliver(batch), 1U);
  auto catalogue = collector_->store().OpenCatalogue();
  ASSERT_TRUE(catalogue.ok());
  const auto nodes = (*catalogue)->Nodes();
  ASSERT_TRUE(nodes.ok());
  ASSERT_EQ(nodes->size(), 1U);
  EXPECT_EQ((*nodes)[0].status.batches(), 1);
  EXPECT_EQ((*nodes)[0].status.last_frame_realtime_ns(), 1'006 * kNsPerSecond);
  const auto rows = (*catalogue)->Batches({(*nodes)[0].id, 0, INT64_MAX, INT64_MAX}, {}, 10);
  ASSERT_TRUE(rows.ok());
  ASSERT_EQ(rows->size(), 1U);
  EXPECT_EQ((*rows)[0].payload, batch.payload());
  EXPECT_EQ(Count("SELECT samples FROM batches"), 1);
  EXPECT_TRUE(node->Finish().ok());
}

TEST_F(IngestTest, DuplicateIsAcknowledgedAndStoredOnce) {
  auto node = Connect();
  node->Hello(TestHello("n1", kIngestEpoch));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(node->Deliver(OneFrame(5).Encode(kIngestEpoch, 1)), 1U);
  EXPECT_EQ(node->Deliver(OneFrame(6).Encode(kIngestEpoch, 2)), 2U);
  EXPECT_EQ(node->Deliver(OneFrame(5).Encode(kIngestEpoch, 1)), 2U);
  EXPECT_EQ(Count("SELECT count(*) FROM batches"), 2);
}

TEST_F(IngestTest, MarkSurvivesRestartAndTellsWhereToGoOn) {
  {
    auto node = Connect();
    node->Hello(TestHello("n1", kIngestEpoch));
    for (std::uint64_t i = 1; i <= 5; ++i) {
      node->Deliver(OneFrame(static_cast<std::int64_t>(i)).Encode(kIngestEpoch, i));
    }
  }
  Open();
  auto node = Connect();
  EXPECT_EQ(node->Hello(TestHello("n1", kIngestEpoch)), 5U);
  EXPECT_EQ(node->Deliver(OneFrame(5).Encode(kIngestEpoch, 5)), 5U);
  EXPECT_EQ(node->Deliver(OneFrame(6).Encode(kIngestEpoch, 6)), 6U);
  EXPECT_EQ(Count("SELECT count(*) FROM batches"), 6);
  // Another start of the agent counts from the beginning.
  EXPECT_EQ(node->Hello(TestHello("n1", kOtherEpoch)), 0U);
  EXPECT_EQ(node->Deliver(OneFrame(7).Encode(kOtherEpoch, 1)), 1U);
  EXPECT_EQ(Count("SELECT count(*) FROM batches"), 7);
}

TEST_F(IngestTest, BacklogOfEarlierEpochIsTakenOnTheSameStream) {
  auto node = Connect();
  node->Hello(TestHello("n1", kOtherEpoch));
  EXPECT_EQ(node->Deliver(OneFrame(1).Encode(kOtherEpoch, 1)), 1U);
  EXPECT_EQ(node->Deliver(OneFrame(2).Encode(kIngestEpoch, 1)), 1U);
  EXPECT_EQ(node->Deliver(OneFrame(3).Encode(kOtherEpoch, 2)), 2U);
}

TEST_F(IngestTest, HoleHoldsTheMarkAndIsReportedOnceUntilAGapNamesIt) {
  auto node = Connect();
  node->Hello(TestHello("n1", kIngestEpoch));
  EXPECT_EQ(node->Deliver(OneFrame(1).Encode(kIngestEpoch, 1)), 1U);
  EXPECT_EQ(node->Deliver(OneFrame(4).Encode(kIngestEpoch, 4)), 1U);
  EXPECT_EQ(node->Deliver(OneFrame(5).Encode(kIngestEpoch, 5)), 1U);
  EXPECT_EQ(Count("SELECT count(*) FROM events WHERE kind = 'sequence_hole'"), 1);
  BatchBuilder builder = OneFrame(6);
  auto* gap = builder.batch().add_gaps();
  gap->set_epoch(kIngestEpoch);
  gap->set_first_sequence(2);
  gap->set_last_sequence(3);
  gap->set_begin_boottime_ns(2 * kNsPerSecond);
  gap->set_end_boottime_ns(4 * kNsPerSecond);
  gap->set_samples(17);
  gap->set_reason("buffer_full");
  EXPECT_EQ(node->Deliver(builder.Encode(kIngestEpoch, 6)), 6U);
  EXPECT_EQ(Count("SELECT sum(samples) FROM gaps"), 17);
  EXPECT_EQ(Count("SELECT begin_ns FROM gaps"), 1'002 * kNsPerSecond);
  EXPECT_EQ(Count("SELECT count(*) FROM events"), 1);
}

// A full outbox may have left no frame of a start before what it kept of events.
TEST_F(IngestTest, EventsThatComeBeforeTheFirstFrameGetTheirRealTimeWithIt) {
  auto node = Connect();
  node->Hello(TestHello("n1", kIngestEpoch));
  BatchBuilder record;
  record.batch().add_events()->set_kind("injector_found");
  record.batch().mutable_events(0)->set_boottime_ns(2 * kNsPerSecond);
  EXPECT_EQ(node->Deliver(record.Encode(kIngestEpoch, 1)), 1U);
  EXPECT_EQ(Count("SELECT realtime_ns FROM events"), 0);
  EXPECT_EQ(node->Deliver(OneFrame(3).Encode(kIngestEpoch, 2)), 2U);
  EXPECT_EQ(Count("SELECT realtime_ns FROM events"), 1'002 * kNsPerSecond);
}

TEST_F(IngestTest, BatchThatCanNeverBeStoredIsRejectedNamedAndPassed) {
  BatchBuilder wrong_columns = OneFrame(2);
  wrong_columns.batch().mutable_frames(0)->mutable_tables(0)->mutable_columns()->RemoveLast();
  v1::EncodedBatch flipped = OneFrame(2).Encode(kIngestEpoch, 1);
  flipped.mutable_payload()->back() ^= 1;
  v1::EncodedBatch short_size = OneFrame(2).Encode(kIngestEpoch, 1);
  short_size.set_decoded_bytes(short_size.decoded_bytes() - 1);
  v1::EncodedBatch huge = OneFrame(2).Encode(kIngestEpoch, 1);
  huge.set_decoded_bytes(1U << 30);
  BatchBuilder unknown_schema = OneFrame(2);
  unknown_schema.batch().set_schema_id(77);
  std::vector<v1::EncodedBatch> bad = {wrong_columns.Encode(kIngestEpoch, 1),
                                       flipped,
                                       short_size,
                                       huge,
                                       unknown_schema.Encode(kIngestEpoch, 1),
                                       BatchBuilder::EncodeBytes("\xff\xff", kIngestEpoch, 1)};
  auto node = Connect();
  node->Hello(TestHello("n1", kIngestEpoch));
  std::uint64_t sequence = 0;
  for (v1::EncodedBatch& batch : bad) {
    batch.set_sequence(++sequence);
    ASSERT_TRUE(node->Send(batch));
    const v1::CollectorMessage reject = node->Read();
    ASSERT_TRUE(reject.has_reject()) << reject.ShortDebugString();
    EXPECT_EQ(reject.reject().sequence(), sequence);
    EXPECT_EQ(reject.reject().epoch(), kIngestEpoch);
    EXPECT_FALSE(reject.reject().reason().empty());
    EXPECT_EQ(Count("SELECT count(*) FROM gaps"), static_cast<std::int64_t>(sequence) - 1);
    // The same again: now it is named lost, and passed.
    ASSERT_TRUE(node->Send(batch));
    ASSERT_TRUE(node->Read().has_reject());
    const v1::CollectorMessage ack = node->Read();
    ASSERT_TRUE(ack.has_ack());
    EXPECT_EQ(ack.ack().durable_sequence(), sequence);
  }
  EXPECT_EQ(node->Deliver(OneFrame(9).Encode(kIngestEpoch, sequence + 1)), sequence + 1);
  EXPECT_EQ(Count("SELECT count(*) FROM gaps WHERE reason = 'rejected'"), 6);
  // What can be decoded is counted: one value, of a window of a second.
  EXPECT_EQ(Count("SELECT count(*) FROM gaps WHERE samples = 1 AND begin_boottime_ns = 2000000000 "
                  "AND end_boottime_ns = 3000000000"),
            2);
  EXPECT_EQ(Count("SELECT count(*) FROM gaps WHERE samples = 0 AND begin_boottime_ns = 0"), 4);
  // The node's own record replaces ours.
  BatchBuilder builder = OneFrame(10);
  auto* gap = builder.batch().add_gaps();
  gap->set_epoch(kIngestEpoch);
  gap->set_first_sequence(1);
  gap->set_last_sequence(sequence);
  gap->set_begin_boottime_ns(1);
  gap->set_end_boottime_ns(2);
  gap->set_samples(99);
  gap->set_reason("rejected");
  EXPECT_EQ(node->Deliver(builder.Encode(kIngestEpoch, sequence + 2)), sequence + 2);
  EXPECT_EQ(Count("SELECT count(*) FROM gaps"), 1);
  EXPECT_EQ(Count("SELECT sum(samples) FROM gaps"), 99);
}

TEST_F(IngestTest, FirstRejectionWaitsForTheNodesOwnGapRecord) {
  auto node = Connect();
  node->Hello(TestHello("n1", kIngestEpoch));
  EXPECT_EQ(node->Deliver(OneFrame(1).Encode(kIngestEpoch, 1)), 1U);
  BatchBuilder bad = OneFrame(2);
  bad.batch().mutable_frames(0)->mutable_tables(0)->mutable_columns()->RemoveLast();
  ASSERT_TRUE(node->Send(bad.Encode(kIngestEpoch, 2)));
  ASSERT_TRUE(node->Read().has_reject());
  // What was on its way is stored; the mark waits, and nothing is reported missing.
  EXPECT_EQ(node->Deliver(OneFrame(3).Encode(kIngestEpoch, 3)), 1U);
  EXPECT_EQ(node->Deliver(OneFrame(4).Encode(kIngestEpoch, 4)), 1U);
  EXPECT_EQ(Count("SELECT count(*) FROM gaps"), 0);
  EXPECT_EQ(Count("SELECT count(*) FROM events WHERE kind = 'sequence_hole'"), 0);
  EXPECT_EQ(Count("SELECT count(*) FROM events WHERE kind = 'batch_rejected'"), 1);
  BatchBuilder record;
  auto* gap = record.batch().add_gaps();
  gap->set_epoch(kIngestEpoch);
  gap->set_first_sequence(2);
  gap->set_last_sequence(2);
  gap->set_begin_boottime_ns(2 * kNsPerSecond);
  gap->set_end_boottime_ns(3 * kNsPerSecond);
  gap->set_samples(1);
  gap->set_reason("rejected");
  EXPECT_EQ(node->Deliver(record.Encode(kIngestEpoch, 2)), 4U);
  EXPECT_EQ(Count("SELECT samples FROM gaps WHERE first = 2 AND last = 2 AND begin_ns = "
                  "1002000000000 AND end_ns = 1003000000000"),
            1);
  EXPECT_EQ(Count("SELECT count(*) FROM events WHERE kind = 'sequence_hole'"), 0);
}

v1::EncodedBatch Record(std::uint64_t first, std::uint64_t last, std::int64_t samples) {
  BatchBuilder record;
  auto* gap = record.batch().add_gaps();
  gap->set_epoch(kIngestEpoch);
  gap->set_first_sequence(first);
  gap->set_last_sequence(last);
  gap->set_begin_boottime_ns(static_cast<std::int64_t>(first) * kNsPerSecond);
  gap->set_end_boottime_ns(static_cast<std::int64_t>(last + 1) * kNsPerSecond);
  gap->set_samples(samples);
  gap->set_reason("buffer_full");
  return record.Encode(kIngestEpoch, last);
}

TEST_F(IngestTest, GapRecordOfWhatWasStoredCountsOnlyTheRest) {
  auto node = Connect();
  node->Hello(TestHello("n1", kIngestEpoch));
  // The acknowledgement of 1 and 2 never arrived, and the node made a gap of 1 to 5.
  node->Deliver(OneFrame(1).Encode(kIngestEpoch, 1));
  node->Deliver(OneFrame(2).Encode(kIngestEpoch, 2));
  EXPECT_EQ(node->Deliver(Record(1, 5, 5)), 5U);
  EXPECT_EQ(Count("SELECT count(*) FROM gaps"), 1);
  EXPECT_EQ(Count("SELECT samples FROM gaps WHERE first = 3 AND last = 5 AND begin_boottime_ns = "
                  "3000000000 AND end_boottime_ns = 6000000000"),
            3);
  // Its acknowledgement did not either, and the range grew.
  EXPECT_EQ(node->Deliver(Record(1, 7, 7)), 7U);
  EXPECT_EQ(Count("SELECT count(*) FROM gaps"), 1);
  EXPECT_EQ(Count("SELECT samples FROM gaps WHERE first = 3 AND last = 7"), 5);
}

TEST_F(IngestTest, GapBeforeTheFirstFrameGetsItsRealTimeFromThatFrame) {
  auto node = Connect();
  node->Hello(TestHello("n1", kIngestEpoch));
  EXPECT_EQ(node->Deliver(Record(1, 5, 5)), 5U);
  EXPECT_EQ(Count("SELECT begin_ns FROM gaps"), 0);
  EXPECT_EQ(node->Deliver(OneFrame(6).Encode(kIngestEpoch, 6)), 6U);
  EXPECT_EQ(Count("SELECT begin_ns FROM gaps"), 1'001 * kNsPerSecond);
  EXPECT_EQ(Count("SELECT end_ns FROM gaps"), 1'006 * kNsPerSecond);
}

TEST_F(IngestTest, FaultWithoutIdIsLeftOutAndTheSamplesBesideItAreStored) {
  auto node = Connect();
  node->Hello(TestHello("n1", kIngestEpoch));
  BatchBuilder builder = OneFrame(1);
  builder.batch().add_faults()->set_phase(v1::PHASE_REFUSED);
  builder.batch().add_faults()->mutable_spec()->set_id("f1");
  builder.batch().add_faults()->mutable_spec()->set_id(std::string(200, 'x'));
  EXPECT_EQ(node->Deliver(builder.Encode(kIngestEpoch, 1)), 1U);
  EXPECT_EQ(Count("SELECT count(*) FROM faults"), 1);
  EXPECT_EQ(Count("SELECT count(*) FROM events WHERE kind = 'faults_dropped' AND detail LIKE '%2 "
                  "faults%'"),
            1);
}

TEST_F(IngestTest, SecondStreamOfANodeReplacesTheFirst) {
  auto first = Connect();
  first->Hello(TestHello("n1", kIngestEpoch));
  auto second = Connect();
  second->Hello(TestHello("n1", kIngestEpoch));
  const grpc::Status ended = first->Finish(false);
  EXPECT_EQ(ended.error_code(), grpc::StatusCode::ABORTED) << ended.error_message();
  EXPECT_EQ(second->Deliver(OneFrame(1).Encode(kIngestEpoch, 1)), 1U);
  EXPECT_THAT(collector_->fleet().Connected(), testing::ElementsAre("n1"));
}

TEST_F(IngestTest, SecondAgentOfANameIsRefusedAsLongAsTheFirstIsThere) {
  const std::string other = "epoch-of-another";
  auto first = Connect();
  first->Hello(TestHello("n1", kIngestEpoch));
  {
    auto second = Connect();
    v1::NodeMessage message;
    *message.mutable_hello() = TestHello("n1", other);
    EXPECT_TRUE(second->Write(message));
    const grpc::Status refused = second->Finish(false);
    EXPECT_EQ(refused.error_code(), grpc::StatusCode::ALREADY_EXISTS);
    EXPECT_THAT(refused.error_message(), testing::HasSubstr("an agent named n1"));
  }
  EXPECT_EQ(first->Deliver(OneFrame(1).Encode(kIngestEpoch, 1)), 1U);
  EXPECT_EQ(Count("SELECT count(*) FROM epochs"), 1);
  first->Finish();
  // The collector learns of the end a moment after us.
  for (int i = 0; i < 1000 && collector_->fleet().Find("n1") != nullptr; ++i) ::usleep(5'000);
  auto again = Connect();
  EXPECT_EQ(again->Hello(TestHello("n1", other)), 0U);
}

TEST_F(IngestTest, OfTwoAgentsThatSayOneNameAtOnceOneIsTakenAndNothingOfTheOtherStored) {
  for (int round = 0; round < 20; ++round) {
    const std::string name = absl::StrCat("n", round);
    std::unique_ptr<FakeNode> nodes[] = {Connect(), Connect()};
    for (int i = 0; i < 2; ++i) {
      v1::NodeMessage message;
      *message.mutable_hello() = TestHello(name, absl::StrCat("epoch-of-agent-", i));
      EXPECT_TRUE(nodes[i]->Write(message));
    }
    int welcome = 0;
    for (const auto& node : nodes) {
      v1::CollectorMessage message;
      if (node->Read(&message)) {
        EXPECT_TRUE(message.has_welcome());
        ++welcome;
      } else {
        EXPECT_EQ(node->Finish(false).error_code(), grpc::StatusCode::ALREADY_EXISTS);
      }
    }
    EXPECT_EQ(welcome, 1);
    EXPECT_EQ(Count("SELECT count(*) FROM epochs"), round + 1);
  }
}

TEST_F(IngestTest, WrongHelloEndsTheStreamWithTheReason) {
  const auto with = [](auto change) {
    v1::Hello hello = TestHello("n1", kIngestEpoch);
    change(&hello);
    return hello;
  };
  const std::vector<v1::Hello> wrong = {
      with([](v1::Hello* h) { h->mutable_node()->set_id("../etc"); }),
      with([](v1::Hello* h) { h->mutable_node()->set_id(""); }),
      with([](v1::Hello* h) { h->set_epoch("short"); }),
      with([](v1::Hello* h) { h->set_interval_ns(0); }),
      with([](v1::Hello* h) { h->mutable_schema()->clear_tables(); }),
      with([](v1::Hello* h) { h->mutable_schema()->mutable_tables(0)->set_name("../x"); }),
      with([](v1::Hello* h) { h->mutable_schema()->mutable_tables(0)->set_name("cgroup"); }),
      with([](v1::Hello* h) {
        h->mutable_schema()->mutable_tables(0)->mutable_columns(0)->set_name("a,b");
      }),
  };
  for (const v1::Hello& hello : wrong) {
    auto node = Connect();
    v1::NodeMessage message;
    *message.mutable_hello() = hello;
    node->Write(message);
    const grpc::Status status = node->Finish(false);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_FALSE(status.error_message().empty());
  }
  auto node = Connect();
  node->Send(OneFrame(1).Encode(kIngestEpoch, 1));
  EXPECT_EQ(node->Finish(false).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(Count("SELECT count(*) FROM nodes"), 0);
}

TEST_F(IngestTest, SchemaIdWithOtherColumnsIsRefused) {
  auto node = Connect();
  node->Hello(TestHello("n1", kIngestEpoch));
  v1::Hello hello = TestHello("n1", kIngestEpoch);
  hello.mutable_schema()->mutable_tables(0)->mutable_columns(0)->set_name("other_ns");
  v1::NodeMessage message;
  *message.mutable_hello() = hello;
  node->Write(message);
  EXPECT_EQ(node->Finish(false).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  // Words may change; the columns are the same.
  auto again = Connect();
  hello = TestHello("n1", kIngestEpoch);
  hello.mutable_schema()->mutable_tables(0)->mutable_columns(0)->set_reason("no PMU");
  again->Hello(hello);
}

TEST_F(IngestTest, OlderSchemaOfTheNodeIsStillUnderstood) {
  auto node = Connect();
  node->Hello(TestHello("n1", kIngestEpoch));
  v1::Hello hello = TestHello("n1", kOtherEpoch);
  hello.mutable_schema()->set_id(2);
  hello.mutable_schema()->mutable_tables()->RemoveLast();
  node->Hello(hello);
  EXPECT_EQ(node->Deliver(OneFrame(1).Encode(kIngestEpoch, 1)), 1U);
}

TEST_F(IngestTest, FaultToldAtOnceAndInBatchKeepsTheNewest) {
  auto node = Connect();
  node->Hello(TestHello("n1", kIngestEpoch));
  v1::FaultState fault;
  fault.mutable_spec()->set_id("f1");
  fault.set_phase(v1::PHASE_UNDONE);
  fault.mutable_edges()->mutable_undone()->set_boottime_ns(9);
  v1::NodeMessage message;
  *message.mutable_fault() = fault;
  ASSERT_TRUE(node->Write(message));
  BatchBuilder builder = OneFrame(1);
  fault.set_phase(v1::PHASE_VERIFIED);
  fault.mutable_edges()->clear_undone();
  *builder.batch().add_faults() = fault;
  EXPECT_EQ(node->Deliver(builder.Encode(kIngestEpoch, 1)), 1U);
  auto catalogue = collector_->store().OpenCatalogue();
  const auto faults = (*catalogue)->Faults("", false, 10);
  ASSERT_TRUE(faults.ok());
  ASSERT_EQ(faults->size(), 1U);
  EXPECT_EQ((*faults)[0].phase(), v1::PHASE_UNDONE);
  EXPECT_EQ((*faults)[0].node(), "n1");
}

}  // namespace
}  // namespace faultline
