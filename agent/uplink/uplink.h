// SPDX-License-Identifier: Apache-2.0
//
// FRAME -> COLLECTOR. Keeps one stream to the collector: says Hello, sends what the outbox holds
// from the collector's mark on, deletes what is acknowledged, has the commands that come back run,
// and dials again with growing pauses when the stream breaks. Owns its threads; the public methods
// may be called from any thread.
#pragma once

#include <grpcpp/security/credentials.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "agent/uplink/command_lanes.h"
#include "agent/uplink/lease_age.h"
#include "agent/uplink/outbox.h"
#include "faultline/v1/telemetry.grpc.pb.h"

namespace faultline {

class Uplink {
 public:
  // Called with each lease of the collector, how long it stands and the address of the stream's
  // other end, before anything that follows it on the stream. Must not block.
  using OnLease = std::function<void(std::int64_t ttl_ns, const std::string& collector)>;

  // `hello` is sent at each start of a stream; its epoch is the outbox's. `on_command` runs one
  // command of the collector; see CommandLanes for who calls it. `credentials`: of the channel.
  // `on_refusal`: called by Uplink's thread when the collector does not take this node, once per
  // reason.
  Uplink(std::string collector, v1::Hello hello, Outbox* outbox, CommandLanes::OnCommand on_command,
         const std::shared_ptr<grpc::ChannelCredentials>& credentials =
             grpc::InsecureChannelCredentials(),
         std::function<void()> on_refusal = nullptr, OnLease on_lease = nullptr);
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
  // One stream from Hello to its end; true if the collector welcomed us, else *why not.
  bool Converse(const std::stop_token& stop, std::string* why);
  void Receive(Stream* stream, grpc::ClientContext* context);
  // False: the stream is of no use any more.
  bool Take(v1::CollectorMessage* message);
  void TakeLease(const v1::Lease& lease, LeaseAge* age, const std::string& peer) const;
  void Send(Stream* stream, std::uint64_t sent);
  std::optional<v1::NodeMessage> NextMessage(std::uint64_t* sent);
  void Answer(std::uint64_t stream, v1::CommandResult result);

  const std::string collector_;
  const v1::Hello hello_;
  Outbox* const outbox_;
  const std::function<void()> on_refusal_;
  const OnLease on_lease_;
  std::unique_ptr<v1::Ingest::Stub> stub_;

  std::mutex mutex_;
  std::condition_variable_any changed_;
  // What goes up beside the batches: answers to commands, none of which is ever dropped, and
  // faults' changes, which the batches carry too.
  std::deque<v1::CommandResult> results_ ABSL_GUARDED_BY(mutex_);
  std::deque<v1::FaultState> notices_ ABSL_GUARDED_BY(mutex_);
  bool broken_ ABSL_GUARDED_BY(mutex_) = true;
  // Counts streams: command ids are unique within one.
  std::uint64_t stream_number_ ABSL_GUARDED_BY(mutex_) = 0;
  // Batches that became gap records after they were sent: those go again, what followed them does
  // not.
  std::set<std::uint64_t> resend_ ABSL_GUARDED_BY(mutex_);
  // Bumped by everything that the sender should look at.
  std::uint64_t version_ ABSL_GUARDED_BY(mutex_) = 0;

  CommandLanes lanes_;
  std::jthread thread_;
};

}  // namespace faultline
