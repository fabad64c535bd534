// SPDX-License-Identifier: Apache-2.0
#include "injector/host/helper_program.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace faultline {

std::int64_t HelperNow() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return now.tv_sec * std::int64_t{1'000'000'000} + now.tv_nsec;
}

bool WaitForCommand(std::int64_t timeout_ns, bool* go) {
  pollfd commands{kHoldCommandFd, POLLIN, 0};
  const int ms = timeout_ns < 0 ? -1 : static_cast<int>((timeout_ns + 999'999) / 1'000'000);
  const int ready = ::poll(&commands, 1, ms);
  if (ready < 0) return errno == EINTR;
  if (ready == 0) return true;
  char byte = 0;
  const ssize_t size = ::read(kHoldCommandFd, &byte, 1);
  if (size == 1) *go = true;
  return size == 1 || (size < 0 && errno == EINTR);
}

bool WaitUntil(std::int64_t until_ns) {
  bool go = false;
  for (std::int64_t now_ns = HelperNow(); now_ns < until_ns; now_ns = HelperNow()) {
    if (!WaitForCommand(until_ns - now_ns, &go)) return false;
  }
  return true;
}

bool WaitForGo() {
  bool go = false;
  while (!go) {
    if (!WaitForCommand(-1, &go)) return false;
  }
  return true;
}

std::int64_t Argument(int argc, char** argv, const char* name) {
  for (int i = 1; i + 1 < argc; ++i) {
    if (std::strcmp(argv[i], name) == 0) return std::strtoll(argv[i + 1], nullptr, 10);
  }
  return -1;
}

HoldReport* MapReport() {
  void* page =
      ::mmap(nullptr, sizeof(HoldReport), PROT_READ | PROT_WRITE, MAP_SHARED, kHoldReportFd, 0);
  return page == MAP_FAILED ? nullptr : static_cast<HoldReport*>(page);
}

void BecomeHelper() {
  ::setpriority(PRIO_PROCESS, 0, 0);
  const int fd = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  // It stays what it was where this is refused.
  [[maybe_unused]] const ssize_t written = ::write(fd, "1000", 4);
  ::close(fd);
}

}  // namespace faultline
