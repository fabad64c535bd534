// SPDX-License-Identifier: Apache-2.0
#include "injector/host/process.h"

#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

namespace faultline {

// glibc 2.36 has no wrapper with these names.
int PidfdOpen(pid_t pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }
int PidfdSignal(int pidfd, int signal) {
  return static_cast<int>(::syscall(SYS_pidfd_send_signal, pidfd, signal, nullptr, 0));
}
int PidfdKill(int pidfd) { return PidfdSignal(pidfd, SIGKILL); }

void ReapWithin(pid_t child, int timeout_ms) {
  const Descriptor pidfd(PidfdOpen(child));
  if (!pidfd.valid() || !HasEnded(pidfd.get(), timeout_ms)) ::kill(child, SIGKILL);
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
}

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  if (this == &other) return *this;
  Reset();
  fd_ = other.fd_;
  other.fd_ = -1;
  return *this;
}

void Descriptor::Reset() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

bool HasEnded(int pidfd, int timeout_ms) {
  pollfd end{pidfd, POLLIN, 0};
  return ::poll(&end, 1, timeout_ms) > 0;
}

}  // namespace faultline
