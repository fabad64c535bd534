// SPDX-License-Identifier: Apache-2.0
//
// FRAME -> COLLECTOR. Keeps one stream to the collector: says Hello, sends what the outbox holds
// from the collector's mark on, deletes what is acknowledged, runs the commands that come back, and
// dials again with growing pauses when the stream breaks. Owns its threads; the public methods may
// be called from any thread.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "agent/uplink/outbox.h"
#include "faultline/v1/telemetry.grpc.pb.h"

namespace faultline {

class Uplink {
 public:
  // Runs one command of the collector; called from a thread of the uplink's own, one at a time.
  using OnCommand = std::function<v1::CommandResult(const v1::Command&)>;

  // `hello` is sent at each start of a stream; its epoch is the outbox's.
  Uplink(std::string collector, v1::Hello hello, Outbox* outbox, OnCommand on_command);
  // Stops and joins; what is not acknowledged by then stays in the outbox.
  ~Uplink();
  Uplink(const Uplink&) = delete;
  Uplink& operator=(const Uplink&) = delete;

  // The outbox has something new.
  void Wake();
  // Tells the collector of a fault's change now; best effort, the batch carries it for sure.
  void Tell(const v1::FaultState& state);
  // Waits until the outbox is empty or the time is up; true if it is empty.
  bool Drain(std::int64_t timeout_ns);

 private:
  using Stream = grpc::ClientReaderWriterInterface<v1::NodeMessage, v1::CollectorMessage>;

  void Run(const std::stop_token& stop);
  // One stream from Hello to its end; true if the collector welcomed us.
  bool Converse(const std::stop_token& stop);
  void Receive(Stream* stream);
  void Send(Stream* stream, std::uint64_t sent);
  void RunCommands(const std::stop_token& stop);

  const std::string collector_;
  const v1::Hello hello_;
  Outbox* const outbox_;
  const OnCommand on_command_;
  std::unique_ptr<v1::Ingest::Stub> stub_;

  std::mutex mutex_;
  std::condition_variable_any changed_;
  // Ready to go up beside the batches.
  std::deque<v1::NodeMessage> messages_ ABSL_GUARDED_BY(mutex_);
  std::deque<v1::Command> commands_ ABSL_GUARDED_BY(mutex_);
  bool broken_ ABSL_GUARDED_BY(mutex_) = true;
  // Batches that became gap records after they were sent: those go again, what followed them does
  // not.
  std::set<std::uint64_t> resend_ ABSL_GUARDED_BY(mutex_);
  // Bumped by everything that the sender should look at.
  std::uint64_t version_ ABSL_GUARDED_BY(mutex_) = 0;

  std::jthread command_thread_;
  std::jthread thread_;
};

}  // namespace faultline
