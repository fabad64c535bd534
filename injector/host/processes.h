// SPDX-License-Identifier: Apache-2.0
//
// Processes that a fault sends signals to, as the lever needs them. real_processes.h has this
// machine's, the tests have their own. One thread at a time.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace faultline {

// One process and never another that has its number by now.
class Process {
 public:
  virtual ~Process() = default;
  // NotFound: it has ended.
  virtual absl::Status Signal(int signal) = 0;
  // Also when nobody has waited for it yet.
  virtual bool Ended() const = 0;
};

class Processes {
 public:
  virtual ~Processes() = default;

  // NotFound: there is no process of that number. InvalidArgument: it is that of a thread.
  virtual absl::StatusOr<std::unique_ptr<Process>> Open(pid_t pid) = 0;
  // When process `pid` was started, in clock ticks since boot: with its number, who it is.
  // NotFound: there is none.
  virtual absl::StatusOr<std::int64_t> StartTime(pid_t pid) const = 0;
  // FailedPrecondition: process `pid` must never get a signal, because it is PID 1, a thread of the
  // kernel, or runs this program. NotFound: there is none.
  virtual absl::Status CheckOrdinary(pid_t pid) const = 0;
};

}  // namespace faultline
