// SPDX-License-Identifier: Apache-2.0
//
// Ctrl-C and the polite ways to be ended, as a descriptor instead of a signal handler. Made by a
// command before gRPC makes threads, so that every thread inherits the block; main thread only.
#pragma once

#include <signal.h>

namespace faultline::cli {

class Interrupt {
 public:
  // Blocks SIGINT, SIGTERM and SIGHUP.
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;

  // Waits at most `ms`; true if a signal came, now or before.
  bool Within(int ms);
  // The mask that children must start with.
  const sigset_t& before() const { return before_; }

 private:
  int fd_ = -1;
  bool came_ = false;
  sigset_t before_{};
};

}  // namespace faultline::cli
