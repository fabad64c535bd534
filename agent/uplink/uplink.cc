// SPDX-License-Identifier: Apache-2.0
#include "agent/uplink/uplink.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <random>
#include <utility>

#include "base/address.h"
#include "base/channel.h"
#include "base/clock.h"
#include "base/event.h"
#include "base/log.h"

namespace faultline {
namespace {

// Pause after a broken stream: doubled from the first to the last, with a random half taken off, so
// that a fleet does not come back in step.
constexpr std::int64_t kFirstPauseNs = 200 * kNsPerMs;
constexpr std::int64_t kLastPauseNs = 10 * kNsPerSecond;
// Notices that wait for the sender; beyond it the oldest is dropped, as a batch has it too.
constexpr size_t kMaxNotices = 256;
// Answers that wait for a collector that reads nothing but sends commands. It has at most 256 on
// their way, so this many mean that it is out of its mind.
constexpr size_t kMaxResults = 1024;

std::int64_t Jittered(std::int64_t pause_ns) {
  static thread_local std::mt19937_64 random{std::random_device{}()};
  return pause_ns / 2 +
         static_cast<std::int64_t>(random() % static_cast<std::uint64_t>(pause_ns / 2 + 1));
}

bool WriteNow(grpc::ClientReaderWriterInterface<v1::NodeMessage, v1::CollectorMessage>* stream,
              v1::NodeMessage* message) {
  message->set_sent_boottime_ns(Clock::System().Now().boottime_ns);
  return stream->Write(*message);
}

}  // namespace

Uplink::Uplink(std::string collector, v1::Hello hello, Outbox* outbox,
               CommandLanes::OnCommand on_command,
               const std::shared_ptr<grpc::ChannelCredentials>& credentials,
               std::function<void()> on_refusal, OnLease on_lease)
    : collector_(std::move(collector)),
      hello_(std::move(hello)),
      outbox_(outbox),
      on_refusal_(std::move(on_refusal)),
      on_lease_(std::move(on_lease)),
      lanes_(std::move(on_command), [this](std::uint64_t stream, v1::CommandResult result) {
        Answer(stream, std::move(result));
      }) {
  grpc::ChannelArguments arguments;
  // The pauses between streams are Run's alone: gRPC's own are kept below its shortest.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  // In truth the time that a connection may take to come about: on a slow uplink, or on a processor
  // that is throttled, TLS needs more than ten seconds.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 30'000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 100);
  // A collector that vanished without a word is noticed within half a minute.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10'000);
  stub_ = v1::Ingest::NewStub(OpenChannel(collector_, credentials, arguments));
  thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
}

Uplink::~Uplink() = default;

void Uplink::Wake() {
  const std::lock_guard lock(mutex_);
  ++version_;
  changed_.notify_all();
}

void Uplink::Tell(const v1::FaultState& state) {
  const std::lock_guard lock(mutex_);
  // Without a stream nobody is there to be told early.
  if (broken_) return;
  notices_.push_back(state);
  if (notices_.size() > kMaxNotices) notices_.pop_front();
  ++version_;
  changed_.notify_all();
}

bool Uplink::Drain(std::int64_t timeout_ns) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::nanoseconds(timeout_ns);
  std::unique_lock lock(mutex_);
  return changed_.wait_until(lock, until, [this] { return outbox_->size() == 0; });
}

void Uplink::Run(const std::stop_token& stop) {
  std::int64_t pause = kFirstPauseNs;
  // What was said last, so that each reason is said once.
  std::string said;
  while (!stop.stop_requested()) {
    std::string why;
    if (Converse(stop, &why)) {
      pause = kFirstPauseNs;
      said.clear();
    } else if (why != said && !stop.stop_requested()) {
      LogEvent(Event::kNodeNotTaken, {{kAddressField, collector_}, {kReasonField, why}},
               "collector: ", collector_, " does not take this node: ", why,
               "; samples are kept and sent when it does");
      said = why;
      if (on_refusal_) on_refusal_();
    }
    Clock& clock = Clock::System();
    clock.WaitUntil(clock.Now().boottime_ns + Jittered(pause), stop);
    pause = std::min(pause * 2, kLastPauseNs);
  }
}

bool Uplink::Converse(const std::stop_token& stop, std::string* why) {
  grpc::ClientContext context;
  const std::stop_callback cancel(stop, [&context] { context.TryCancel(); });
  const auto stream = stub_->Stream(&context);
  v1::NodeMessage first;
  *first.mutable_hello() = hello_;
  v1::CollectorMessage answer;
  const bool welcome =
      WriteNow(stream.get(), &first) && stream->Read(&answer) && answer.has_welcome();
  if (welcome) {
    LogEvent(Event::kCollectorConnected, {{kAddressField, collector_}}, "collector: connected to ",
             collector_);
    const std::uint64_t durable = answer.welcome().durable_sequence();
    outbox_->Acknowledge(durable);
    outbox_->ForgetRefusals();
    {
      const std::lock_guard lock(mutex_);
      broken_ = false;
      ++stream_number_;
    }
    std::jthread receiver([this, &stream, &context] { Receive(stream.get(), &context); });
    Send(stream.get(), durable);
    context.TryCancel();
  }
  const grpc::Status status = stream->Finish();
  if (welcome && !stop.stop_requested()) {
    LogEvent(Event::kCollectorLost,
             {{kAddressField, collector_}, {kReasonField, status.error_message()}},
             "collector: the stream to ", collector_, " broke: ", status.error_message());
  }
  if (!welcome) *why = status.error_message();
  return welcome;
}

void Uplink::Receive(Stream* stream, grpc::ClientContext* context) {
  v1::CollectorMessage message;
  LeaseAge age;
  const std::string peer = NumericPeer(context->peer());
  bool taken = true;
  while (taken && stream->Read(&message)) {
    if (message.has_lease()) {
      TakeLease(message.lease(), &age, peer);
    } else {
      taken = Take(&message);
    }
  }
  // A collector that reads nothing may hold Send up in a write.
  if (!taken) context->TryCancel();
  {
    const std::lock_guard lock(mutex_);
    broken_ = true;
    results_.clear();
    notices_.clear();
    resend_.clear();
    changed_.notify_all();
  }
  lanes_.Forget();
}

void Uplink::TakeLease(const v1::Lease& lease, LeaseAge* age, const std::string& peer) const {
  const std::int64_t left_ns = age->Left(lease, Clock::System().Now().boottime_ns);
  if (left_ns > 0 && on_lease_) on_lease_(left_ns, peer);
}

bool Uplink::Take(v1::CollectorMessage* message) {
  std::uint64_t resend = 0;
  if (message->has_ack()) outbox_->Acknowledge(message->ack().durable_sequence());
  if (message->has_reject() &&
      outbox_->Reject(message->reject().sequence(), message->reject().reason())) {
    resend = message->reject().sequence();
  }
  std::uint64_t stream = 0;
  {
    const std::lock_guard lock(mutex_);
    if (resend != 0) resend_.insert(resend);
    stream = stream_number_;
    ++version_;
    changed_.notify_all();
    if (results_.size() >= kMaxResults) {
      LogWarning("collector: ", collector_, " sends commands and reads no answers; hanging up");
      return false;
    }
  }
  if (message->has_command()) lanes_.Take(stream, std::move(*message->mutable_command()));
  return true;
}

void Uplink::Answer(std::uint64_t stream, v1::CommandResult result) {
  const std::lock_guard lock(mutex_);
  // Its stream has ended: the id may be another command's by now.
  if (broken_ || stream != stream_number_) return;
  results_.push_back(std::move(result));
  ++version_;
  changed_.notify_all();
}

// Answers first, so that they do not wait behind a backlog of batches.
std::optional<v1::NodeMessage> Uplink::NextMessage(std::uint64_t* sent) {
  v1::NodeMessage message;
  std::uint64_t after = *sent;
  {
    const std::lock_guard lock(mutex_);
    if (!results_.empty()) {
      *message.mutable_result() = std::move(results_.front());
      results_.pop_front();
      return message;
    }
    if (!notices_.empty()) {
      *message.mutable_fault() = std::move(notices_.front());
      notices_.pop_front();
      return message;
    }
    if (!resend_.empty()) {
      after = *resend_.begin() - 1;
      resend_.erase(resend_.begin());
    }
  }
  std::optional<v1::EncodedBatch> batch = outbox_->After(after);
  if (!batch.has_value()) return std::nullopt;
  *sent = std::max(*sent, batch->sequence());
  *message.mutable_batch() = *std::move(batch);
  return message;
}

// A write blocks while the collector reads nothing, which is the flow control: at most one batch is
// on its way beyond what gRPC buffers.
void Uplink::Send(Stream* stream, std::uint64_t sent) {
  while (true) {
    std::uint64_t seen = 0;
    {
      const std::lock_guard lock(mutex_);
      if (broken_) return;
      seen = version_;
    }
    if (std::optional<v1::NodeMessage> message = NextMessage(&sent); message.has_value()) {
      if (!WriteNow(stream, &*message)) return;
      continue;
    }
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this, seen] { return broken_ || version_ != seen; });
  }
}

}  // namespace faultline
