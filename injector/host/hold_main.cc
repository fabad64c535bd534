// SPDX-License-Identifier: Apache-2.0
//
// faultline-hold --fault ID --bytes N --rate R: touches N bytes at R bytes a second, then holds
// them without using the CPU until its command pipe ends. It is started and moved into its control
// group by the injector, and waits for the go before it touches anything. No library and no
// allocation: what it costs its group must be what was asked for.
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "injector/host/hold.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23  // Linux 5.14
#endif

namespace faultline {
namespace {

constexpr std::int64_t kNsPerSecond = 1'000'000'000;
constexpr std::int64_t kMinStepNs = 20'000'000;
// Time that a helper makes up for when it was stopped or got no CPU; more would be a burst.
constexpr std::int64_t kMaxLagNs = kNsPerSecond;

std::int64_t Now() {
  timespec now{};
  ::clock_gettime(CLOCK_BOOTTIME, &now);
  return now.tv_sec * kNsPerSecond + now.tv_nsec;
}

// False when the pipe has ended. A negative timeout waits for ever.
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

// False when the kernel refuses more memory.
bool Touch(char* from, std::int64_t bytes, std::int64_t page) {
  if (::madvise(from, static_cast<size_t>(bytes), MADV_POPULATE_WRITE) == 0) return true;
  if (errno != EINVAL) return false;
  for (std::int64_t at = 0; at < bytes; at += page) static_cast<volatile char*>(from)[at] = 1;
  return true;
}

void Report(HoldReport* report, std::int64_t held, std::int64_t begin_ns) {
  const std::int64_t now_ns = Now();
  report->step_ns.store(std::max(report->step_ns.load(), now_ns - begin_ns));
  report->held_bytes.store(held);
  if (report->first_touch_ns.load() == 0) report->first_touch_ns.store(now_ns);
  report->last_touch_ns.store(now_ns);
}

// Touches `bytes` from `memory` on at `rate` bytes a second, then waits; returns at the end of the
// commands.
void Hold(char* memory, std::int64_t bytes, std::int64_t rate, HoldReport* report) {
  const std::int64_t page = ::sysconf(_SC_PAGESIZE);
  bool go = false;
  while (!go) {
    if (!WaitForCommand(-1, &go)) return;
  }
  std::int64_t held = 0;
  std::int64_t last_ns = Now();
  // Long enough for a page.
  const std::int64_t step_ns =
      rate > 0 ? std::max(kMinStepNs, page * kNsPerSecond / rate) : kMinStepNs;
  double due = 0;
  while (held < bytes) {
    if (!WaitForCommand(step_ns, &go)) return;
    const std::int64_t now_ns = Now();
    const std::int64_t lag = std::min(now_ns - last_ns, step_ns + kMaxLagNs);
    due += static_cast<double>(rate) * static_cast<double>(lag) / 1e9;
    last_ns = now_ns;
    const std::int64_t step = std::min(static_cast<std::int64_t>(due) / page * page, bytes - held);
    if (step <= 0) continue;
    if (!Touch(memory + held, step, page)) break;
    held += step;
    due -= static_cast<double>(step);
    Report(report, held, now_ns);
  }
  while (WaitForCommand(-1, &go)) {
  }
}

int Run(std::int64_t bytes, std::int64_t rate, HoldReport* report) {
  const std::int64_t page = ::sysconf(_SC_PAGESIZE);
  bytes = (bytes + page - 1) / page * page;
  const auto size = static_cast<size_t>(bytes);
  void* memory = nullptr;
  if (bytes > 0) {
    memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return 3;
    // A huge page would be 512 times the step.
    ::madvise(memory, size, MADV_NOHUGEPAGE);
  }
  Hold(static_cast<char*>(memory), bytes, rate, report);
  report->closing_ns.store(Now());
  if (bytes > 0) ::munmap(memory, size);
  report->closed_ns.store(Now());
  return 0;
}

// Whoever has to die for want of memory, it is this one.
void OfferToDie() {
  const int fd = ::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (fd < 0) return;
  // It stays what it was where this is refused.
  [[maybe_unused]] const ssize_t written = ::write(fd, "1000", 4);
  ::close(fd);
}

std::int64_t Argument(int argc, char** argv, const char* name) {
  for (int i = 1; i + 1 < argc; ++i) {
    if (std::strcmp(argv[i], name) == 0) return std::strtoll(argv[i + 1], nullptr, 10);
  }
  return -1;
}

}  // namespace
}  // namespace faultline

int main(int argc, char** argv) {
  const std::int64_t bytes = faultline::Argument(argc, argv, "--bytes");
  const std::int64_t rate = faultline::Argument(argc, argv, "--rate");
  if (bytes < 0 || rate < 0 || (bytes > 0 && rate == 0)) return 2;
  void* page = ::mmap(nullptr, sizeof(faultline::HoldReport), PROT_READ | PROT_WRITE, MAP_SHARED,
                      faultline::kHoldReportFd, 0);
  if (page == MAP_FAILED) return 2;
  faultline::OfferToDie();
  // The injector's own priority is not for its helpers.
  ::setpriority(PRIO_PROCESS, 0, 0);
  return faultline::Run(bytes, rate, static_cast<faultline::HoldReport*>(page));
}
