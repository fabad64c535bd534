// SPDX-License-Identifier: Apache-2.0
#include "agent/uplink/command_lanes.h"

#include <grpcpp/support/status.h>

#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace faultline {
namespace {

v1::CommandResult Refusal(const v1::Command& command, grpc::StatusCode code, std::string why) {
  v1::CommandResult result;
  result.set_id(command.id());
  result.set_code(code);
  result.set_error(std::move(why));
  return result;
}

v1::CommandResult Full(const v1::Command& command) {
  return Refusal(command, grpc::StatusCode::RESOURCE_EXHAUSTED,
                 absl::StrCat("this node has ", CommandLanes::kMaxWaiting,
                              " commands of this kind waiting; try again when they are answered"));
}

}  // namespace

CommandLanes::CommandLanes(OnCommand on_command, OnResult on_result)
    : on_command_(std::move(on_command)), on_result_(std::move(on_result)) {}

CommandLanes::~CommandLanes() {
  std::array<std::jthread, kKinds> threads;
  {
    const std::lock_guard lock(mutex_);
    for (size_t kind = 0; kind < kKinds; ++kind) threads[kind] = std::move(lanes_[kind].thread);
  }
  // All at once, then each is joined.
  for (std::jthread& thread : threads) thread.request_stop();
}

CommandLanes::Kind CommandLanes::KindOf(const v1::Command& command) {
  switch (command.request_case()) {
    case v1::Command::kHalt:
      return kHalt;
    case v1::Command::kStop:
      return kStop;
    case v1::Command::kStart:
      return kStart;
    default:
      return kQuestion;
  }
}

// The Starts that wait and that `command` makes pointless; they leave their lane.
std::deque<CommandLanes::Waiting> CommandLanes::Overtaken(const v1::Command& command) {
  std::deque<Waiting> overtaken;
  std::deque<Waiting> left;
  for (Waiting& start : lanes_[kStart].waiting) {
    const bool ends =
        command.has_halt() || (command.has_stop() && !command.stop().fault_id().empty() &&
                               start.command.start().spec().id() == command.stop().fault_id());
    (ends ? overtaken : left).push_back(std::move(start));
  }
  lanes_[kStart].waiting = std::move(left);
  return overtaken;
}

void CommandLanes::Take(std::uint64_t stream, v1::Command command) {
  const Kind kind = KindOf(command);
  std::deque<Waiting> overtaken;
  std::optional<v1::CommandResult> refusal;
  const bool halt = kind == kHalt;
  {
    const std::lock_guard lock(mutex_);
    if (kind == kHalt || kind == kStop) overtaken = Overtaken(command);
    Lane& lane = lanes_[kind];
    if (lane.waiting.size() >= kMaxWaiting) {
      refusal = Full(command);
    } else {
      lane.waiting.push_back({stream, std::move(command)});
      if (!lane.thread.joinable()) {
        lane.thread = std::jthread([this, kind](const std::stop_token& stop) { Run(kind, stop); });
      }
      changed_.notify_all();
    }
  }
  if (refusal.has_value()) on_result_(stream, *std::move(refusal));
  for (const Waiting& start : overtaken) {
    on_result_(start.stream, halt ? Refusal(start.command, grpc::StatusCode::FAILED_PRECONDITION,
                                            "the node was halted before this fault was begun")
                                  : Refusal(start.command, grpc::StatusCode::CANCELLED,
                                            "the fault was stopped before it was begun"));
  }
}

void CommandLanes::Forget() {
  const std::lock_guard lock(mutex_);
  lanes_[kStart].waiting.clear();
  lanes_[kQuestion].waiting.clear();
}

void CommandLanes::Run(Kind kind, const std::stop_token& stop) {
  while (true) {
    Waiting next;
    {
      std::unique_lock lock(mutex_);
      std::deque<Waiting>& waiting = lanes_[kind].waiting;
      if (!changed_.wait(lock, stop, [&waiting] { return !waiting.empty(); })) return;
      if (stop.stop_requested()) return;
      next = std::move(waiting.front());
      waiting.pop_front();
    }
    on_result_(next.stream, on_command_(next.command));
  }
}

}  // namespace faultline
