// SPDX-License-Identifier: Apache-2.0
#include "collector/ingest.h"

#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/event.h"
#include "base/log.h"
#include "base/peer.h"
#include "base/status.h"
#include "collector/check.h"
#include "collector/lease_keeper.h"
#include "collector/pending_calls.h"

namespace faultline {
namespace {

// Messages that may wait for a node that does not read. An Ack follows each batch and a batch is
// read only after it, so only commands can pile up.
constexpr std::size_t kMaxOutgoing = 256;
// Rejected batches of one stream that a gap record is awaited of; beyond it we name the gaps.
constexpr std::size_t kMaxRefused = 1024;

// Who shares the streams' work; all outlive the server.
struct Parts {
  Store* store;
  Fleet* fleet;
  FaultFeed* feed;
  Clock* clock;
};

class NodeStream final : public grpc::ServerBidiReactor<v1::NodeMessage, v1::CollectorMessage>,
                         public NodeLink,
                         public std::enable_shared_from_this<NodeStream> {
 public:
  // `certified`: whom the caller's certificate names; unset: it came without, over loopback.
  NodeStream(const Parts& parts, std::optional<Peer> certified)
      : parts_(parts), certified_(std::move(certified)) {}

  // Separate from construction, which has no shared_ptr yet.
  void Begin() {
    self_ = shared_from_this();
    Read();
  }

  void OnReadDone(bool ok) override {
    if (!ok) {
      End(absl::OkStatus());
      return;
    }
    Hear();
    switch (incoming_.message_case()) {
      case v1::NodeMessage::kHello:
        return OnHello();
      case v1::NodeMessage::kBatch:
        return OnBatch();
      case v1::NodeMessage::kResult:
        return OnResult();
      case v1::NodeMessage::kFault:
        return OnFault();
      default:
        // Of a newer agent.
        return Read();
    }
  }

  void OnWriteDone(bool ok) override {
    const absl::MutexLock lock(&mutex_);
    outgoing_.pop_front();
    if (ok && !finished_ && !outgoing_.empty()) StartWrite(&outgoing_.front());
  }

  void OnDone() override {
    if (!node_.empty()) {
      parts_.fleet->Disconnect(node_, this);
      LogEvent(Event::kNodeDisconnected, {{kNodeField, node_}}, "node ", node_, " disconnected");
    }
    calls_->Close(
        absl::UnavailableError(absl::StrCat("node ", node_, " disconnected before it answered")));
    self_.reset();
  }

  void Call(v1::Command command, std::chrono::system_clock::time_point deadline,
            Answer answer) override {
    const std::uint64_t id = calls_->Add(deadline, std::move(answer));
    if (id == 0) return;
    command.set_id(id);
    v1::CollectorMessage message;
    *message.mutable_command() = std::move(command);
    if (Write(std::move(message))) return;
    calls_->Resolve(id, absl::UnavailableError(
                            "the stream to the node has ended, or the node takes no commands"));
  }

  void RenewLease() override {
    LeaseKeeper::Heard heard;
    {
      const absl::MutexLock lock(&mutex_);
      heard = heard_;
    }
    Write(LeaseKeeper::Message(parts_.clock->Now(), heard));
  }

  void End(const absl::Status& status) override {
    const absl::MutexLock lock(&mutex_);
    if (finished_) return;
    finished_ = true;
    Finish(ToGrpc(status));
  }

 private:
  void Hear() {
    if (incoming_.sent_boottime_ns() == 0) return;
    const std::int64_t now_ns = parts_.clock->Now().boottime_ns;
    const absl::MutexLock lock(&mutex_);
    heard_ = {incoming_.sent_boottime_ns(), now_ns};
  }

  void Read() {
    const absl::MutexLock lock(&mutex_);
    if (!finished_) StartRead(&incoming_);
  }

  // False: it cannot go out any more, or too many wait already.
  bool Write(v1::CollectorMessage message) {
    const absl::MutexLock lock(&mutex_);
    if (finished_ || outgoing_.size() >= kMaxOutgoing) return false;
    outgoing_.push_back(std::move(message));
    if (outgoing_.size() == 1) StartWrite(&outgoing_.front());
    return true;
  }

  // The node's fault: it will not get better by trying again.
  void Refuse(const absl::Status& status) {
    LogEvent(Event::kNodeRefused, {{kNodeField, node_}, {kReasonField, status.message()}}, "node ",
             node_.empty() ? "?" : node_, ": ", status.message());
    End(status);
  }

  // Ours, or the disk's: the node keeps what it has and comes back.
  void GiveUp(const absl::Status& status) {
    End(absl::UnavailableError(absl::StrCat("the collector cannot store: ", status.message())));
  }

  void OnHello() {
    v1::Hello hello = std::move(*incoming_.mutable_hello());
    const absl::Status status = CheckHello(hello);
    if (!status.ok()) return Refuse(WithContext(status, "Hello"));
    if (!node_.empty() && node_ != hello.node().id()) {
      return Refuse(absl::InvalidArgumentError("a stream belongs to one node"));
    }
    if (certified_.has_value() && certified_->name != hello.node().id()) {
      return Refuse(absl::PermissionDeniedError(
          absl::StrCat("Hello of node ", hello.node().id(), " came with the certificate of ",
                       RoleWord(certified_->role), " ", certified_->name)));
    }
    // Before anything of it is stored.
    const absl::Status claimed =
        parts_.fleet->Claim(hello.node().id(), hello.epoch(), shared_from_this());
    if (!claimed.ok()) return Refuse(claimed);
    node_ = hello.node().id();
    parts_.store->SaveHello(std::move(hello),
                            [self = shared_from_this()](absl::StatusOr<HelloOutcome> outcome) {
                              self->OnHelloSaved(std::move(outcome));
                            });
  }

  void OnHelloSaved(absl::StatusOr<HelloOutcome> outcome) {
    if (absl::IsInvalidArgument(outcome.status())) return Refuse(outcome.status());
    if (!outcome.ok()) return GiveUp(outcome.status());
    schemas_ = std::move(outcome->schemas);
    v1::CollectorMessage message;
    message.mutable_welcome()->set_durable_sequence(outcome->durable_sequence);
    message.mutable_welcome()->set_realtime_ns(parts_.clock->Now().realtime_ns);
    // Before the node can be reached: commands come after Welcome.
    Write(std::move(message));
    // What it describes is stored, so the store works; a command may be the next that it reads.
    RenewLease();
    if (parts_.fleet->Open(node_, this)) {
      LogEvent(Event::kNodeConnected, {{kNodeField, node_}}, "node ", node_, " connected");
    }
    Read();
  }

  void OnBatch() {
    if (node_.empty()) return Refuse(absl::InvalidArgumentError("a batch came before Hello"));
    v1::EncodedBatch encoded = std::move(*incoming_.mutable_batch());
    const absl::Status key = CheckBatchKey(encoded);
    if (!key.ok()) return Refuse(key);
    auto checked = CheckEncodedBatch(encoded, schemas_);
    if (!checked.ok()) return RejectBatch(encoded, std::string(checked.status().message()));
    const std::string epoch = encoded.epoch();
    // Its gap record, if it was one, has come.
    refused_.erase({epoch, encoded.sequence()});
    for (auto next = refused_.lower_bound({epoch, 0});
         next != refused_.end() && next->first == epoch; ++next) {
      checked->awaited.insert(next->second);
    }
    if (checked->faults_dropped > 0) {
      LogWarning("node ", node_, ": batch ", encoded.sequence(), " tells of ",
                 checked->faults_dropped, " faults without a usable id; they are left out");
    }
    checked->encoded = std::move(encoded);
    parts_.store->SaveBatch(
        node_, std::make_shared<const CheckedBatch>(std::move(*checked)),
        [self = shared_from_this(), epoch](const absl::StatusOr<BatchOutcome>& outcome) {
          self->OnBatchSaved(epoch, outcome);
        });
  }

  void OnBatchSaved(const std::string& epoch, const absl::StatusOr<BatchOutcome>& outcome) {
    if (!outcome.ok()) return GiveUp(outcome.status());
    for (const v1::FaultState& fault : outcome->faults) parts_.feed->Publish(fault);
    WriteAck(epoch, outcome->durable_sequence);
    Read();
  }

  // The first time the node is asked for a gap record, which knows what was lost; the second time
  // we name the gap ourselves, so that one batch cannot hold up the stream for ever.
  void RejectBatch(const v1::EncodedBatch& encoded, const std::string& reason) {
    Rejection rejection{encoded.epoch(), encoded.sequence(), reason, std::nullopt};
    const std::pair<std::string, std::uint64_t> key(rejection.epoch, rejection.sequence);
    const bool again = refused_.erase(key) != 0 || refused_.size() >= kMaxRefused;
    if (again) {
      rejection.lost = LostWith(encoded);
    } else {
      refused_.insert(key);
    }
    LogEvent(Event::kBatchRejected,
             {{kNodeField, node_},
              {kSequenceField, absl::StrCat(rejection.sequence)},
              {kReasonField, reason}},
             "node ", node_, ": batch ", rejection.sequence, " rejected", again ? " again: " : ": ",
             reason);
    parts_.store->SaveReject(
        node_, rejection,
        [self = shared_from_this(), rejection](const absl::StatusOr<std::uint64_t>& durable) {
          if (!durable.ok()) return self->GiveUp(durable.status());
          v1::CollectorMessage message;
          message.mutable_reject()->set_sequence(rejection.sequence);
          message.mutable_reject()->set_reason(rejection.reason);
          message.mutable_reject()->set_epoch(rejection.epoch);
          self->Write(std::move(message));
          // Of a batch that we have after all, or that has become our gap.
          if (*durable >= rejection.sequence || rejection.lost.has_value()) {
            self->WriteAck(rejection.epoch, *durable);
          }
          self->Read();
        });
  }

  void WriteAck(const std::string& epoch, std::uint64_t durable) {
    v1::CollectorMessage message;
    message.mutable_ack()->set_durable_sequence(durable);
    message.mutable_ack()->set_epoch(epoch);
    // A node that sends batches and never reads its acknowledgements gains nothing by going on.
    if (!Write(std::move(message))) End(absl::ResourceExhaustedError("acknowledgements unread"));
  }

  void OnResult() {
    v1::CommandResult result = std::move(*incoming_.mutable_result());
    const std::uint64_t id = result.id();
    if (result.code() == 0) {
      calls_->Resolve(id, std::move(result));
    } else {
      calls_->Resolve(id,
                      absl::Status(static_cast<absl::StatusCode>(result.code()), result.error()));
    }
    Read();
  }

  void OnFault() {
    if (node_.empty()) return Refuse(absl::InvalidArgumentError("a fault came before Hello"));
    v1::FaultState fault = std::move(*incoming_.mutable_fault());
    if (fault.spec().id().empty()) return Read();
    fault.set_node(node_);
    parts_.store->SaveFault(node_, fault,
                            [self = shared_from_this(), fault](const absl::StatusOr<bool>& news) {
                              if (!news.ok()) return self->GiveUp(news.status());
                              if (*news) self->parts_.feed->Publish(fault);
                              self->Read();
                            });
  }

  const Parts parts_;
  const std::optional<Peer> certified_;
  const std::shared_ptr<PendingCalls> calls_ = std::make_shared<PendingCalls>();
  // Keeps the stream alive until gRPC is done with it.
  std::shared_ptr<NodeStream> self_;

  // Touched only between a read and the next one, which never overlap.
  v1::NodeMessage incoming_;
  std::string node_;
  std::vector<v1::Schema> schemas_;
  // Epoch and sequence of the batches that were rejected once and not been answered for.
  std::set<std::pair<std::string, std::uint64_t>> refused_;

  absl::Mutex mutex_;
  bool finished_ ABSL_GUARDED_BY(mutex_) = false;
  LeaseKeeper::Heard heard_ ABSL_GUARDED_BY(mutex_);
  // The front is being written.
  std::deque<v1::CollectorMessage> outgoing_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

grpc::ServerBidiReactor<v1::NodeMessage, v1::CollectorMessage>* Ingest::Stream(
    grpc::CallbackServerContext* context) {
  // That it is a node's, the table of authority has seen to.
  std::optional<Peer> certified;
  const auto peer = PeerOf(*context->auth_context());
  if (peer.ok()) certified = *peer;
  const auto stream =
      std::make_shared<NodeStream>(Parts{store_, fleet_, feed_, clock_}, std::move(certified));
  stream->Begin();
  return stream.get();
}

}  // namespace faultline
