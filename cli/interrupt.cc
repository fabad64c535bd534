// SPDX-License-Identifier: Apache-2.0
#include "cli/interrupt.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

namespace faultline::cli {

Interrupt::Interrupt() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGHUP);
  ::pthread_sigmask(SIG_BLOCK, &set, &before_);
  fd_ = ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

Interrupt::~Interrupt() { ::close(fd_); }

bool Interrupt::Within(int ms) {
  if (came_) return true;
  pollfd wait{fd_, POLLIN, 0};
  if (::poll(&wait, 1, ms) <= 0) return false;
  signalfd_siginfo info{};
  came_ = ::read(fd_, &info, sizeof(info)) == sizeof(info);
  return came_;
}

}  // namespace faultline::cli
