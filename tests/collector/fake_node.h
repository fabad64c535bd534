// SPDX-License-Identifier: Apache-2.0
//
// The node's end of an Ingest stream, for tests: blocking, one thread.
#pragma once

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <mutex>
#include <string>

#include "faultline/v1/telemetry.grpc.pb.h"
#include "tests/child.h"
#include "tests/collector/batch_builder.h"

namespace faultline {

inline v1::Hello TestHello(const std::string& node, const std::string& epoch,
                           const v1::Schema& schema = TestSchema()) {
  v1::Hello hello;
  hello.mutable_node()->set_id(node);
  hello.mutable_node()->set_hostname(node);
  hello.mutable_node()->set_boot_id("boot-1");
  hello.mutable_node()->set_kernel("6.1.0-test");
  hello.mutable_node()->set_arch("x86_64");
  hello.mutable_node()->set_cpus(2);
  hello.set_epoch(epoch);
  hello.set_interval_ns(1'000'000'000);
  *hello.mutable_schema() = schema;
  return hello;
}

class FakeNode {
 public:
  explicit FakeNode(const std::shared_ptr<grpc::Channel>& channel)
      : stub_(v1::Ingest::NewStub(channel)) {
    // A test that waits for ever is worse than one that fails.
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(30));
    stream_ = stub_->Stream(&context_);
  }
  ~FakeNode() {
    if (!done_) {
      context_.TryCancel();
      stream_->Finish();
    }
  }
  FakeNode(const FakeNode&) = delete;
  FakeNode& operator=(const FakeNode&) = delete;

  // From any thread; gRPC takes one write at a time.
  bool Write(const v1::NodeMessage& message) {
    const std::lock_guard lock(writing_);
    return stream_->Write(message);
  }

  // Yields Welcome.durable_sequence. `sent_ns`: as NodeMessage.sent_boottime_ns.
  std::uint64_t Hello(const v1::Hello& hello, std::int64_t sent_ns = 0) {
    v1::NodeMessage message;
    message.set_sent_boottime_ns(sent_ns);
    *message.mutable_hello() = hello;
    EXPECT_TRUE(Write(message));
    const v1::CollectorMessage answer = Read();
    EXPECT_TRUE(answer.has_welcome()) << answer.ShortDebugString();
    return answer.welcome().durable_sequence();
  }

  bool Send(const v1::EncodedBatch& batch) {
    v1::NodeMessage message;
    *message.mutable_batch() = batch;
    return Write(message);
  }

  // Sends and waits; yields Ack.durable_sequence.
  std::uint64_t Deliver(const v1::EncodedBatch& batch) {
    EXPECT_TRUE(Send(batch));
    const v1::CollectorMessage answer = Read();
    EXPECT_TRUE(answer.has_ack()) << answer.ShortDebugString();
    EXPECT_EQ(answer.ack().epoch(), batch.epoch());
    return answer.ack().durable_sequence();
  }

  // Nothing more will be written; the collector ends the stream.
  void HalfClose() {
    const std::lock_guard lock(writing_);
    stream_->WritesDone();
  }

  // Leases come at any time; they are passed over.
  bool Read(v1::CollectorMessage* message) {
    while (stream_->Read(message)) {
      if (!message->has_lease()) return true;
    }
    return false;
  }
  v1::CollectorMessage Read() {
    v1::CollectorMessage message;
    EXPECT_TRUE(Read(&message));
    return message;
  }
  // Waits for the next one.
  v1::Lease ReadLease() {
    v1::CollectorMessage message;
    EXPECT_TRUE(stream_->Read(&message));
    EXPECT_TRUE(message.has_lease()) << message.ShortDebugString();
    return message.lease();
  }

  // Reads what is left and yields the status that the stream ended with.
  grpc::Status Finish(bool half_close = true) {
    if (half_close) HalfClose();
    v1::CollectorMessage message;
    while (stream_->Read(&message)) {
    }
    done_ = true;
    return stream_->Finish();
  }

 private:
  std::unique_ptr<v1::Ingest::Stub> stub_;
  grpc::ClientContext context_;
  std::mutex writing_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::NodeMessage, v1::CollectorMessage>> stream_;
  bool done_ = false;
};

}  // namespace faultline
