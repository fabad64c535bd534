// SPDX-License-Identifier: Apache-2.0
//
// Descriptors and processes, by pidfd, so that what is meant for one never meets another that has
// its number by now. Stateless, any thread.
#pragma once

#include <sys/types.h>

#include "absl/status/status.h"

namespace faultline {

// A descriptor that closes itself.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() { Reset(); }
  Descriptor(Descriptor&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  Descriptor& operator=(Descriptor&& other) noexcept;
  void Reset();
  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

// A descriptor for process `pid`, the caller's, and a signal or SIGKILL through it: never to
// another process that has its number by now. Negative, with errno, if it fails.
int PidfdOpen(pid_t pid);
int PidfdSignal(int pidfd, int signal);
int PidfdKill(int pidfd);

// Waits for `child` of ours, which is killed if it has not ended after `timeout_ms`. A frozen one
// ends by that on cgroup v2 only.
void ReapWithin(pid_t child, int timeout_ms);

// Whether the process has ended, by `timeout_ms` from now.
bool HasEnded(int pidfd, int timeout_ms);

}  // namespace faultline
