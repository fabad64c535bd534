// SPDX-License-Identifier: Apache-2.0
#include "agent/labels/injector_link.h"

#include <grpcpp/grpcpp.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <utility>

#include "absl/strings/strip.h"
#include "base/channel.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/open_mark.h"
#include "base/status.h"
#include "proto/words.h"

namespace faultline {
namespace {

// Between two tries to reach an injector that is not there.
constexpr std::int64_t kRetryNs = 500 * kNsPerMs;
// An injector that has not answered a tick's question by then was not seen in that tick.
constexpr std::chrono::milliseconds kAnswerWithin{200};
// A question and its answer that took this long: it was this process that stood still.
constexpr std::chrono::milliseconds kStoodStill{300};
// The states that a new watch finds.
constexpr std::chrono::seconds kListDeadline{2};
// Undo waits for the kernel at most a few seconds; a Halt may undo several faults.
constexpr std::chrono::seconds kCommandDeadline{30};
// A lease that was not taken by then is followed by the next one.
constexpr std::chrono::seconds kLeaseDeadline{2};

// The injector's journal keeps what ended; here it is needed until every window that it touches is
// sampled.
constexpr std::int64_t kForgetEndedAfterNs = 900 * kNsPerSecond;

std::string SocketOf(absl::string_view address) {
  return absl::ConsumePrefix(&address, "unix:") ? std::string(address) : "";
}

std::string FolderOf(const std::string& socket) {
  return std::filesystem::path(socket).parent_path();
}

// CLOCK_REALTIME ns at which an entry of `folder` came or went last; 0: there is no folder.
std::int64_t ChangeOf(const std::string& folder) {
  struct stat info {};
  if (::stat(folder.c_str(), &info) != 0) return 0;
  return info.st_mtim.tv_sec * kNsPerSecond + info.st_mtim.tv_nsec;
}

// Surely: what may not be looked at may be there.
bool IsMissing(const std::string& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) != 0 && errno == ENOENT;
}

v1::ListRequest ListOf(bool active_only) {
  v1::ListRequest request;
  request.set_active_only(active_only);
  return request;
}

}  // namespace

InjectorLink::InjectorLink(std::string address)
    : address_(std::move(address)),
      socket_(SocketOf(address_)),
      folder_changed_ns_(ChangeOf(FolderOf(socket_))) {
  if (address_.empty()) return;
  grpc::ChannelArguments arguments;
  // An injector that was restarted is found by the next try, not after gRPC's two minutes.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 100);
  channel_ = OpenChannel(address_, grpc::InsecureChannelCredentials(), arguments);
  stub_ = v1::Faults::NewStub(channel_);
}

InjectorLink::~InjectorLink() { Stop(); }

void InjectorLink::Start(OnChange on_change) {
  on_change_ = std::move(on_change);
  if (stub_ == nullptr) return;
  thread_ = std::jthread([this](const std::stop_token& stop) { Watch(stop); });
}

void InjectorLink::Stop() {
  thread_.request_stop();
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    for (grpc::ClientContext* call : calls_) call->TryCancel();
    if (question_ != nullptr) question_->context.TryCancel();
    if (renewal_ != nullptr) renewal_->context.TryCancel();
  }
  if (thread_.joinable()) thread_.join();
  std::unique_lock lock(mutex_);
  answered_.wait(lock, [this] { return question_ == nullptr && renewal_ == nullptr; });
}

void InjectorLink::Learn(const v1::FaultState& state) {
  // Nothing could ever be said of it again, and the collector would refuse the batch that has it.
  // What is held for a run is no fault.
  if (state.spec().id().empty() || state.hold()) return;
  {
    const std::lock_guard lock(mutex_);
    v1::FaultState& known = states_[state.spec().id()];
    // An answer that was overtaken by a later state says nothing new.
    if (IsFinal(known.phase()) && !IsFinal(state.phase())) return;
    known = state;
  }
  if (on_change_) on_change_(state);
}

void InjectorLink::AwaitFirstTry(std::int64_t timeout_ns) {
  if (stub_ == nullptr) return;
  const auto until = std::chrono::steady_clock::now() + std::chrono::nanoseconds(timeout_ns);
  std::unique_lock lock(mutex_);
  first_try_.wait_until(lock, until, [this] { return tried_; });
}

void InjectorLink::Settle(bool connected) {
  const std::lock_guard lock(mutex_);
  connected_ = connected;
  tried_ = true;
  first_try_.notify_all();
}

void InjectorLink::Enter(grpc::ClientContext* context) {
  const std::lock_guard lock(mutex_);
  calls_.insert(context);
  if (stopped_) context->TryCancel();
}

void InjectorLink::Leave(grpc::ClientContext* context) {
  const std::lock_guard lock(mutex_);
  calls_.erase(context);
}

bool InjectorLink::LearnAll() {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kListDeadline);
  v1::ListResponse response;
  Enter(&context);
  const bool listed = stub_->List(&context, ListOf(/*active_only=*/true), &response).ok();
  Leave(&context);
  if (!listed) return false;
  for (const v1::FaultState& state : response.faults()) Learn(state);
  return true;
}

grpc::Status InjectorLink::WatchOnce(const std::stop_token& stop) {
  grpc::ClientContext context;
  const std::stop_callback cancel(stop, [&context] { context.TryCancel(); });
  const std::unique_ptr<grpc::ClientReader<v1::FaultState>> reader =
      stub_->Watch(&context, v1::ListRequest());
  // Returns when the call failed, too.
  reader->WaitForInitialMetadata();
  const bool connected = channel_->GetState(false) == GRPC_CHANNEL_READY && LearnAll();
  Settle(connected);
  // One that does not tell what there is is tried again.
  if (!connected) context.TryCancel();
  v1::FaultState state;
  while (reader->Read(&state)) Learn(state);
  return reader->Finish();
}

void InjectorLink::Watch(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    const grpc::Status status = WatchOnce(stop);
    bool lost = false;
    {
      const std::lock_guard lock(mutex_);
      lost = std::exchange(connected_, false);
    }
    if (lost && !stop.stop_requested() && status.error_code() != grpc::StatusCode::UNAVAILABLE) {
      LogWarning("injector: watch ended: ", status.error_message());
    }
    Clock::System().WaitUntil(Clock::System().Now().boottime_ns + kRetryNs, stop);
  }
}

Sight InjectorLink::Ask(bool active_only, std::chrono::steady_clock::time_point until,
                        v1::ListResponse* response) {
  const auto question = std::make_shared<Question>();
  {
    const std::lock_guard lock(mutex_);
    // It still owes an answer: nothing to wait for, and it is asked anew after that one.
    if (question_ != nullptr || stopped_) return Sight::kLost;
    question_ = question;
  }
  question->request = ListOf(active_only);
  stub_->async()->List(&question->context, &question->request, &question->response,
                       // Not an owner: its context holds the channel, and gRPC's thread that
                       // would let go of the channel last would wait for its own end.
                       [this](const grpc::Status& status) {
                         const std::lock_guard lock(mutex_);
                         question_->ok = status.ok();
                         question_ = nullptr;
                         answered_.notify_all();
                       });
  std::unique_lock lock(mutex_);
  if (!answered_.wait_until(lock, until, [&] { return question_ != question; })) {
    return Sight::kLate;
  }
  if (!question->ok) return Sight::kLost;
  response->Swap(&question->response);
  return Sight::kSeen;
}

bool InjectorLink::Take(v1::ListResponse* list) {
  std::set<std::string> listed;
  const std::lock_guard lock(mutex_);
  for (v1::FaultState& state : *list->mutable_faults()) {
    const std::string id = state.spec().id();
    if (id.empty() || state.hold()) continue;
    listed.insert(id);
    v1::FaultState& known = states_[id];
    // What the watch told meanwhile may be newer than the answer.
    if (!IsFinal(known.phase()) && state.phase() >= known.phase()) known = std::move(state);
  }
  return std::all_of(states_.begin(), states_.end(), [&listed](const auto& entry) {
    return IsFinal(entry.second.phase()) || listed.count(entry.first) != 0;
  });
}

Sight InjectorLink::AskAll(bool behind) {
  const auto until = std::chrono::steady_clock::now() + kAnswerWithin;
  v1::ListResponse list;
  Sight sight = Ask(/*active_only=*/!behind, until, &list);
  if (sight != Sight::kSeen || Take(&list) || behind) return sight;
  // One that was active has ended, and the watch has not told its last dose yet.
  sight = Ask(/*active_only=*/false, until, &list);
  if (sight == Sight::kSeen) Take(&list);
  return sight;
}

Sight InjectorLink::Refresh(bool behind) {
  const auto begin = std::chrono::steady_clock::now();
  const Sight sight = AskAll(behind);
  const auto now = std::chrono::steady_clock::now();
  if (now - begin < kStoodStill) return sight;
  // The answer, or that there was none in time, is of before this process was stopped.
  {
    std::unique_lock lock(mutex_);
    answered_.wait_until(lock, now + kAnswerWithin, [this] { return question_ == nullptr; });
  }
  return AskAll(/*behind=*/true);
}

bool InjectorLink::IsAbsent(bool undisturbed) {
  // The mark last: an injector that came meanwhile makes it before it changes anything.
  if (socket_.empty() || !undisturbed || !IsMissing(socket_) ||
      !IsMissing(OpenMark(FolderOf(socket_)))) {
    return false;
  }
  const std::lock_guard lock(mutex_);
  // One that had not begun cannot stand without that mark either.
  return std::all_of(states_.begin(), states_.end(), [](const auto& entry) {
    const v1::Phase phase = entry.second.phase();
    return IsFinal(phase) || phase == v1::PHASE_ACCEPTED;
  });
}

std::vector<v1::FaultState> InjectorLink::States(bool behind, Sight* sight) {
  const std::int64_t changed_ns = ChangeOf(FolderOf(socket_));
  const bool undisturbed = std::exchange(folder_changed_ns_, changed_ns) == changed_ns;
  {
    const std::lock_guard lock(mutex_);
    *sight = connected_ ? Sight::kSeen : Sight::kLost;
  }
  if (*sight == Sight::kSeen) *sight = Refresh(behind);
  if (*sight == Sight::kLost && IsAbsent(undisturbed)) *sight = Sight::kAbsent;
  const std::int64_t forget = Clock::System().Now().boottime_ns - kForgetEndedAfterNs;
  const std::lock_guard lock(mutex_);
  std::erase_if(states_, [forget](const auto& entry) {
    const v1::FaultState& state = entry.second;
    const v1::Edges& edges = state.edges();
    return IsFinal(state.phase()) &&
           std::max(edges.undone().boottime_ns(), edges.commanded().boottime_ns()) < forget;
  });
  std::vector<v1::FaultState> result;
  result.reserve(states_.size());
  for (const auto& [id, state] : states_) result.push_back(state);
  return result;
}

std::optional<v1::LeaseRequest> InjectorLink::LeaseLeft() {
  const std::lock_guard lock(mutex_);
  const std::int64_t now_ns = Clock::System().Now().boottime_ns;
  const std::int64_t left_ns = lease_until_ns_ - now_ns;
  if (left_ns <= 0) return std::nullopt;
  v1::LeaseRequest request;
  request.set_ttl_ns(left_ns);
  request.set_from_boottime_ns(now_ns);
  if (!collector_.empty()) request.add_collector(collector_);
  return request;
}

void InjectorLink::Renew(std::int64_t ttl_ns, const std::string& collector) {
  {
    const std::lock_guard lock(mutex_);
    lease_until_ns_ = std::max(lease_until_ns_, Clock::System().Now().boottime_ns + ttl_ns);
    collector_ = collector;
  }
  const std::optional<v1::LeaseRequest> request = LeaseLeft();
  if (stub_ == nullptr || !request.has_value()) return;
  const auto renewal = std::make_shared<Renewal>();
  {
    const std::lock_guard lock(mutex_);
    // An injector that owes the answer to the last one stands still.
    if (renewal_ != nullptr || stopped_) return;
    renewal_ = renewal;
  }
  renewal->request = *request;
  renewal->context.set_deadline(std::chrono::system_clock::now() + kLeaseDeadline);
  stub_->async()->RenewLease(&renewal->context, &renewal->request, &renewal->response,
                             // As in Ask: not an owner.
                             [this](const grpc::Status& /*status*/) {
                               const std::lock_guard lock(mutex_);
                               renewal_ = nullptr;
                               answered_.notify_all();
                             });
}

void InjectorLink::PassLease() {
  const std::optional<v1::LeaseRequest> request = LeaseLeft();
  if (!request.has_value()) return;
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + kLeaseDeadline);
  v1::LeaseResponse response;
  Enter(&context);
  // What is wrong with it the answer to the Start says.
  (void)stub_->RenewLease(&context, *request, &response);
  Leave(&context);
}

v1::CommandResult InjectorLink::Call(const v1::Command& command) {
  v1::CommandResult result;
  grpc::Status status(grpc::StatusCode::UNAVAILABLE,
                      "this node has no injector: install and start faultline-injector");
  if (stub_ != nullptr) {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kCommandDeadline);
    Enter(&context);
    status = Pass(&context, command, &result);
    Leave(&context);
  }
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE && stub_ != nullptr) {
    status = {grpc::StatusCode::UNAVAILABLE, absl::StrCat("the injector does not answer at ",
                                                          address_, ": ", status.error_message())};
  }
  if (!status.ok()) {
    result.Clear();
    result.set_code(status.error_code());
    result.set_error(status.error_message());
  }
  result.set_id(command.id());
  return result;
}

grpc::Status InjectorLink::Pass(grpc::ClientContext* context, const v1::Command& command,
                                v1::CommandResult* result) {
  grpc::Status status;
  switch (command.request_case()) {
    case v1::Command::kCapabilities:
      return stub_->GetCapabilities(context, command.capabilities(),
                                    result->mutable_capabilities());
    case v1::Command::kValidate:
      PassLease();
      return stub_->Validate(context, command.validate(), result->mutable_validate());
    case v1::Command::kStart:
      PassLease();
      status = stub_->Start(context, command.start(), result->mutable_start());
      if (status.ok()) Learn(result->start());
      return status;
    case v1::Command::kStop:
      status = stub_->Stop(context, command.stop(), result->mutable_stop());
      if (status.ok()) Learn(result->stop());
      return status;
    case v1::Command::kHalt:
      return stub_->Halt(context, command.halt(), result->mutable_halt());
    case v1::Command::kList:
      return stub_->List(context, command.list(), result->mutable_list());
    case v1::Command::REQUEST_NOT_SET:
      break;
  }
  return {grpc::StatusCode::UNIMPLEMENTED, "this agent does not know the command"};
}

}  // namespace faultline
