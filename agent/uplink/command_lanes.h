// SPDX-License-Identifier: Apache-2.0
//
// Runs the collector's commands so that nothing that ends a fault waits behind what starts one.
// Each kind has a lane of its own, a bounded queue with a thread that exists once it is needed:
// halts, stops, starts, and questions. Within a lane commands run one after the other, in the order
// of their arrival. Thread-safe; owned by the uplink.
#pragma once

#include <array>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <stop_token>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "faultline/v1/telemetry.pb.h"

namespace faultline {

class CommandLanes {
 public:
  // Commands that may wait in one lane.
  static constexpr size_t kMaxWaiting = 64;

  // Runs a command to its end; called from up to four threads at a time.
  using OnCommand = std::function<v1::CommandResult(const v1::Command&)>;
  // Takes the one answer of each command, with the stream that it came by; from any thread, never
  // with a lock of the lanes held.
  using OnResult = std::function<void(std::uint64_t stream, v1::CommandResult result)>;

  CommandLanes(OnCommand on_command, OnResult on_result);
  // Waits for the commands that run; those that wait are not run and not answered.
  ~CommandLanes();
  CommandLanes(const CommandLanes&) = delete;
  CommandLanes& operator=(const CommandLanes&) = delete;

  // Queues a command. RESOURCE_EXHAUSTED is its answer if its lane is full. A Halt answers every
  // Start that still waits with FAILED_PRECONDITION, and a Stop answers the Start of the same fault
  // with CANCELLED: an end that overtakes must not be followed by its beginning.
  void Take(std::uint64_t stream, v1::Command command);

  // The stream has ended and whoever asked was told so: what waits is not run any more, except
  // halts and stops, which do no harm late.
  void Forget();

 private:
  enum Kind { kHalt, kStop, kStart, kQuestion, kKinds };
  struct Waiting {
    std::uint64_t stream = 0;
    v1::Command command;
  };
  struct Lane {
    std::deque<Waiting> waiting;
    std::jthread thread;
  };

  static Kind KindOf(const v1::Command& command);
  std::deque<Waiting> Overtaken(const v1::Command& command) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Run(Kind kind, const std::stop_token& stop);

  const OnCommand on_command_;
  const OnResult on_result_;
  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::array<Lane, kKinds> lanes_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace faultline
