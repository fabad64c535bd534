// SPDX-License-Identifier: Apache-2.0
#include "tests/witness/processes.h"

#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/witness/now.h"

namespace faultline::witness {

Life::Life(pid_t pid) : fd_(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0))) {}

Life::~Life() {
  if (fd_ >= 0) ::close(fd_);
}

std::int64_t Life::AwaitEndNs(int ms) const {
  pollfd wait{fd_, POLLIN, 0};
  return ::poll(&wait, 1, ms) == 1 ? NowNs() : 0;
}

}  // namespace faultline::witness
