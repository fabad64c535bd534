// SPDX-License-Identifier: Apache-2.0
#include "agent/uplink/uplink.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <condition_variable>
#include <future>
#include <mutex>
#include <set>
#include <vector>

#include "base/clock.h"
#include "tests/agent/decode.h"

namespace faultline {
namespace {

constexpr std::int64_t kPatienceNs = 20'000'000'000;

v1::Batch OneSample(std::int64_t tick) {
  v1::Batch batch;
  batch.set_schema_id(42);
  v1::Frame* frame = batch.add_frames();
  frame->set_begin_boottime_ns(tick * 100);
  frame->set_end_boottime_ns(tick * 100 + 100);
  frame->add_tables()->add_columns()->add_values(7);
  return batch;
}

// A collector of a few lines: stores, acknowledges, and can hang up or refuse a batch. After a
// refusal nothing at or above that sequence is acknowledged until its gap record is stored.
class TinyCollector final : public v1::Ingest::Service {
 public:
  grpc::Status Stream(
      grpc::ServerContext* /*context*/,
      grpc::ServerReaderWriter<v1::CollectorMessage, v1::NodeMessage>* stream) override {
    v1::NodeMessage message;
    if (!stream->Read(&message) || !message.has_hello()) return grpc::Status::CANCELLED;
    v1::CollectorMessage answer;
    answer.mutable_welcome()->set_durable_sequence(durable_);
    stream->Write(answer);
    if (lease_.ttl_ns() != 0) {
      *answer.mutable_lease() = lease_;
      // Its clock is the node's.
      const std::int64_t now_ns = Clock::System().Now().boottime_ns;
      answer.mutable_lease()->set_sent_boottime_ns(now_ns);
      answer.mutable_lease()->set_heard_sent_boottime_ns(message.sent_boottime_ns());
      answer.mutable_lease()->set_heard_read_boottime_ns(now_ns);
      stream->Write(answer);
    }
    for (const v1::Command& command : commands_) {
      *answer.mutable_command() = command;
      stream->Write(answer);
    }
    while (stream->Read(&message)) {
      if (message.has_result()) Learn(message.result());
      if (!message.has_batch()) continue;
      const std::uint64_t sequence = message.batch().sequence();
      if (sequence <= durable_) continue;
      const v1::Batch batch = Decode(message.batch());
      if (reject_.contains(sequence) && batch.gaps().empty()) {
        ++rejected_;
        answer.mutable_reject()->set_sequence(sequence);
        stream->Write(answer);
        continue;
      }
      if (!held_.insert(sequence).second) continue;
      for (const v1::Gap& gap : batch.gaps()) gaps_.push_back(gap);
      if (!batch.gaps().empty() && refuses_records_) {
        answer.mutable_reject()->set_sequence(sequence);
        stream->Write(answer);
      } else {
        ++stored_;
      }
      while (held_.contains(durable_ + 1)) ++durable_;
      answer.mutable_ack()->set_durable_sequence(durable_);
      stream->Write(answer);
      // Hangs up without a word every few batches.
      if (hang_up_every_ != 0 && stored_ % hang_up_every_ == 0) return grpc::Status::OK;
    }
    return grpc::Status::OK;
  }

  void Learn(const v1::CommandResult& result) {
    const std::lock_guard lock(mutex_);
    results_.push_back(result);
    changed_.notify_all();
  }
  // The answers in the order of their arrival, once there are `count`.
  std::vector<v1::CommandResult> Results(size_t count) {
    std::unique_lock lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::nanoseconds(kPatienceNs),
                                  [&] { return results_.size() >= count; }));
    return results_;
  }

  // Sent before the commands; none without a time.
  v1::Lease lease_;
  std::vector<v1::Command> commands_;
  std::uint64_t durable_ = 0;
  // Refused as long as they are no gap records.
  std::set<std::uint64_t> reject_;
  bool refuses_records_ = false;
  int rejected_ = 0;
  std::set<std::uint64_t> held_;
  int stored_ = 0;
  int hang_up_every_ = 0;
  std::vector<v1::Gap> gaps_;

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<v1::CommandResult> results_;
};

class UplinkTest : public testing::Test {
 protected:
  void Serve() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(address_, grpc::InsecureServerCredentials());
    builder.RegisterService(&collector_);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
  }
  void TearDown() override {
    if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());
    server_.reset();
    ::unlink(address_.substr(5).c_str());
  }
  static v1::CommandResult Answer(const v1::Command& command) {
    v1::CommandResult result;
    result.set_id(command.id());
    return result;
  }

  const std::string address_ =
      "unix:" + testing::TempDir() + "uplink_" + std::to_string(::getpid()) + ".sock";
  TinyCollector collector_;
  std::unique_ptr<grpc::Server> server_;
  Outbox outbox_{"epoch", 1 << 20};
};

TEST_F(UplinkTest, Drain_CollectorThatHangsUp_GetsEveryBatchOnce) {
  collector_.hang_up_every_ = 7;
  Serve();
  for (int i = 0; i < 20; ++i) outbox_.Put(v1::Batch());
  Uplink uplink(address_, v1::Hello(), &outbox_, Answer);
  EXPECT_TRUE(uplink.Drain(kPatienceNs));
  EXPECT_EQ(collector_.durable_, 20U);
  EXPECT_EQ(collector_.stored_, 20);
}

TEST_F(UplinkTest, Drain_CollectorThatComesLate_IsFound) {
  outbox_.Put(v1::Batch());
  Uplink uplink(address_, v1::Hello(), &outbox_, Answer);
  EXPECT_FALSE(uplink.Drain(300'000'000));
  Serve();
  EXPECT_TRUE(uplink.Drain(kPatienceNs));
}

TEST_F(UplinkTest, Reject_SendsTheGapRecordsAndGoesOn) {
  collector_.reject_ = {2, 4};
  Serve();
  for (int i = 1; i <= 6; ++i) outbox_.Put(OneSample(i));
  Uplink uplink(address_, v1::Hello(), &outbox_, Answer);
  EXPECT_TRUE(uplink.Drain(kPatienceNs));
  EXPECT_GE(collector_.rejected_, 2);
  EXPECT_EQ(collector_.durable_, 6U);
  EXPECT_EQ(outbox_.lost(), 2U);
  ASSERT_EQ(collector_.gaps_.size(), 2U);
  for (const std::uint64_t sequence : {2U, 4U}) {
    const v1::Gap& gap = collector_.gaps_[sequence / 2 - 1];
    EXPECT_EQ(gap.first_sequence(), sequence);
    EXPECT_EQ(gap.last_sequence(), sequence);
    EXPECT_EQ(gap.samples(), 1);
    EXPECT_EQ(gap.begin_boottime_ns(), static_cast<std::int64_t>(sequence) * 100);
    EXPECT_EQ(gap.end_boottime_ns(), static_cast<std::int64_t>(sequence) * 100 + 100);
    EXPECT_EQ(gap.reason(), "rejected");
  }
}

TEST_F(UplinkTest, Reject_OfTheGapRecordToo_EndsWithTheAck) {
  collector_.reject_ = {2};
  collector_.refuses_records_ = true;
  Serve();
  for (int i = 1; i <= 4; ++i) outbox_.Put(OneSample(i));
  Uplink uplink(address_, v1::Hello(), &outbox_, Answer);
  EXPECT_TRUE(uplink.Drain(kPatienceNs));
  EXPECT_EQ(collector_.durable_, 4U);
  // Sent once, and not again after it was refused.
  EXPECT_EQ(collector_.gaps_.size(), 1U);
  EXPECT_EQ(outbox_.lost(), 1U);
}

v1::Command Start(std::uint64_t id) {
  v1::Command command;
  command.set_id(id);
  command.mutable_start();
  return command;
}

v1::Command Halt(std::uint64_t id) {
  v1::Command command;
  command.set_id(id);
  command.mutable_halt();
  return command;
}

TEST_F(UplinkTest, Command_IsRunAndAnswered) {
  collector_.commands_ = {Start(77)};
  Serve();
  Uplink uplink(address_, v1::Hello(), &outbox_, Answer);
  EXPECT_EQ(collector_.Results(1)[0].id(), 77U);
}

TEST_F(UplinkTest, Command_HaltIsAnsweredWhileAStartRuns) {
  collector_.commands_ = {Start(1), Halt(2)};
  Serve();
  std::promise<void> halted;
  Uplink uplink(address_, v1::Hello(), &outbox_, [&halted](const v1::Command& command) {
    if (command.has_halt()) {
      halted.set_value();
    } else {
      EXPECT_EQ(halted.get_future().wait_for(std::chrono::nanoseconds(kPatienceNs)),
                std::future_status::ready);
    }
    return Answer(command);
  });
  const std::vector<v1::CommandResult> results = collector_.Results(2);
  ASSERT_EQ(results.size(), 2U);
  // The Start was overtaken while it waited, or while it ran: either way both are answered.
  EXPECT_EQ(results[0].id() + results[1].id(), 3U);
}

TEST_F(UplinkTest, Command_BeyondTheBound_IsAnsweredResourceExhausted) {
  constexpr size_t kCommands = 2 * CommandLanes::kMaxWaiting;
  for (std::uint64_t id = 1; id <= kCommands; ++id) collector_.commands_.push_back(Start(id));
  Serve();
  std::promise<void> go;
  std::shared_future<void> gone = go.get_future().share();
  Uplink uplink(address_, v1::Hello(), &outbox_, [gone](const v1::Command& command) {
    gone.wait();
    return Answer(command);
  });
  // One runs, a lane full waits, the rest is refused at once.
  constexpr size_t kRefused = kCommands - CommandLanes::kMaxWaiting - 1;
  for (const v1::CommandResult& result : collector_.Results(kRefused)) {
    EXPECT_EQ(result.code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
    EXPECT_FALSE(result.error().empty());
  }
  go.set_value();
  EXPECT_GE(collector_.Results(kCommands).size(), kCommands);
}

TEST_F(UplinkTest, ALease_IsToldBeforeTheCommandThatFollowsIt) {
  collector_.lease_.set_ttl_ns(9'000'000'000);
  collector_.commands_.emplace_back();
  collector_.commands_.back().set_id(1);
  collector_.commands_.back().mutable_start();
  Serve();
  std::mutex mutex;
  std::vector<std::string> order;
  std::int64_t ttl_ns = 0;
  const auto note = [&](const std::string& what) {
    const std::lock_guard lock(mutex);
    order.push_back(what);
  };
  Uplink uplink(
      address_, v1::Hello(), &outbox_,
      [&](const v1::Command& command) {
        note("command");
        return Answer(command);
      },
      grpc::InsecureChannelCredentials(), nullptr,
      [&](std::int64_t ttl, const std::string& collector) {
        ttl_ns = ttl;
        note(collector);
      });
  collector_.Results(1);
  const std::lock_guard lock(mutex);
  EXPECT_EQ(order, (std::vector<std::string>{address_, "command"}));
  EXPECT_GT(ttl_ns, 0);
  EXPECT_LE(ttl_ns, 9'000'000'000);
}

}  // namespace
}  // namespace faultline
