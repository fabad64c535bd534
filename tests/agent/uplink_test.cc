// SPDX-License-Identifier: Apache-2.0
#include "agent/uplink/uplink.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <set>

namespace faultline {
namespace {

constexpr std::int64_t kPatienceNs = 20'000'000'000;

// A collector of a few lines: stores, acknowledges, and can hang up or refuse a batch.
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
    answer.mutable_command()->set_id(77);
    answer.mutable_command()->mutable_list();
    stream->Write(answer);
    while (stream->Read(&message)) {
      if (message.has_result()) results_ += message.result().id() == 77 ? 1 : 0;
      if (!message.has_batch()) continue;
      const std::uint64_t sequence = message.batch().sequence();
      if (reject_.count(sequence) != 0 && rejected_.insert(sequence).second) {
        answer.mutable_reject()->set_sequence(sequence);
        stream->Write(answer);
        continue;
      }
      if (sequence <= durable_ || !held_.insert(sequence).second) continue;
      ++stored_;
      while (held_.count(durable_ + 1) != 0) ++durable_;
      answer.mutable_ack()->set_durable_sequence(durable_);
      stream->Write(answer);
      // Hangs up without a word every few batches.
      if (hang_up_every_ != 0 && stored_ % hang_up_every_ == 0) return grpc::Status::OK;
    }
    return grpc::Status::OK;
  }

  std::uint64_t durable_ = 0;
  // Refused the first time that they come.
  std::set<std::uint64_t> reject_;
  std::set<std::uint64_t> rejected_;
  std::set<std::uint64_t> held_;
  int stored_ = 0;
  int hang_up_every_ = 0;
  int results_ = 0;
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

TEST_F(UplinkTest, Reject_SendsTheGapRecordAndGoesOn) {
  collector_.reject_ = {2, 3, 5};
  Serve();
  for (int i = 0; i < 6; ++i) outbox_.Put(v1::Batch());
  Uplink uplink(address_, v1::Hello(), &outbox_, Answer);
  EXPECT_TRUE(uplink.Drain(kPatienceNs));
  EXPECT_EQ(collector_.durable_, 6U);
  EXPECT_EQ(collector_.stored_, 6);
  EXPECT_EQ(outbox_.lost(), 3U);
}

TEST_F(UplinkTest, Command_IsRunAndAnswered) {
  Serve();
  {
    Uplink uplink(address_, v1::Hello(), &outbox_, Answer);
    outbox_.Put(v1::Batch());
    uplink.Wake();
    ASSERT_TRUE(uplink.Drain(kPatienceNs));
    // The result went up on the same stream; batches that follow it prove that it arrived.
    for (int i = 0; i < 50 && collector_.results_ == 0; ++i) {
      outbox_.Put(v1::Batch());
      uplink.Wake();
      ASSERT_TRUE(uplink.Drain(kPatienceNs));
    }
  }
  EXPECT_EQ(collector_.results_, 1);
}

}  // namespace
}  // namespace faultline
