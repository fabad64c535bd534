// SPDX-License-Identifier: Apache-2.0
//
// faultline-hold --fault ID --bytes N --rate R [--start NS --on NS --off NS]: touches N bytes at R
// bytes a second, then holds them without using the CPU until its command pipe ends. With --on: in
// pulses that are counted from --start on (CLOCK_BOOTTIME); between two it holds nothing. It is
// started and moved into its control group by the injector, and waits for the go before it touches
// anything. No library and no allocation: what it costs its group must be what was asked for.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "injector/host/helper_program.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23  // Linux 5.14
#endif

namespace faultline {
namespace {

constexpr std::int64_t kNsPerSecond = 1'000'000'000;
constexpr std::int64_t kMinStepNs = 20'000'000;
// Time that a helper makes up for when it was stopped or got no CPU; more would be a burst.
constexpr std::int64_t kMaxLagNs = kNsPerSecond;

// False when the kernel refuses more memory.
bool Touch(char* from, std::int64_t bytes, std::int64_t page) {
  if (::madvise(from, static_cast<size_t>(bytes), MADV_POPULATE_WRITE) == 0) return true;
  if (errno != EINVAL) return false;
  for (std::int64_t at = 0; at < bytes; at += page) static_cast<volatile char*>(from)[at] = 1;
  return true;
}

void Report(HoldReport* report, std::int64_t held, std::int64_t begin_ns) {
  const std::int64_t now_ns = HelperNow();
  report->step_ns.store(std::max(report->step_ns.load(), now_ns - begin_ns));
  report->held_bytes.store(held);
  if (report->first_touch_ns.load() == 0) report->first_touch_ns.store(now_ns);
  report->last_touch_ns.store(now_ns);
}

// What is asked for.
struct Order {
  std::int64_t bytes = 0;
  std::int64_t rate = 0;
  // Of pulses; on_ns 0: there are none.
  std::int64_t start_ns = 0;
  std::int64_t on_ns = 0;
  std::int64_t off_ns = 0;
};

// Touches the memory at the rate until all of it is held, the kernel refuses or it is `until_ns`.
// False when the pipe has ended.
bool Fill(char* memory, const Order& order, std::int64_t until_ns, HoldReport* report) {
  const std::int64_t page = ::sysconf(_SC_PAGESIZE);
  std::int64_t held = 0;
  std::int64_t last_ns = HelperNow();
  // Long enough for a page.
  const std::int64_t step_ns =
      order.rate > 0 ? std::max(kMinStepNs, page * kNsPerSecond / order.rate) : kMinStepNs;
  double due = 0;
  while (held < order.bytes && last_ns < until_ns) {
    if (!WaitUntil(std::min(until_ns, last_ns + step_ns))) return false;
    const std::int64_t now_ns = HelperNow();
    const std::int64_t lag = std::min(now_ns - last_ns, step_ns + kMaxLagNs);
    due += static_cast<double>(order.rate) * static_cast<double>(lag) / 1e9;
    last_ns = now_ns;
    const std::int64_t step =
        std::min(static_cast<std::int64_t>(due) / page * page, order.bytes - held);
    if (step <= 0) continue;
    if (!Touch(memory + held, step, page)) break;
    held += step;
    due -= static_cast<double>(step);
    Report(report, held, now_ns);
  }
  return true;
}

// Until the pipe ends.
void HoldInPulses(char* memory, const Order& order, HoldReport* report) {
  const std::int64_t round_ns = order.on_ns + order.off_ns;
  while (true) {
    const std::int64_t now_ns = HelperNow();
    const std::int64_t in_ns = std::max<std::int64_t>(0, now_ns - order.start_ns) % round_ns;
    const std::int64_t next_ns = now_ns - in_ns + round_ns;
    if (in_ns < order.on_ns) {
      const std::int64_t off_ns = next_ns - order.off_ns;
      if (!Fill(memory, order, off_ns, report) || !WaitUntil(off_ns)) return;
      ::madvise(memory, static_cast<size_t>(order.bytes), MADV_DONTNEED);
      report->held_bytes.store(0);
    }
    if (!WaitUntil(next_ns)) return;
  }
}

// Waits for the go, holds, and returns at the end of the commands.
void Hold(char* memory, const Order& order, HoldReport* report) {
  if (!WaitForGo()) return;
  if (order.on_ns > 0) {
    HoldInPulses(memory, order, report);
    return;
  }
  if (!Fill(memory, order, INT64_MAX, report)) return;
  bool go = true;
  while (WaitForCommand(-1, &go)) {
  }
}

int Run(Order order, HoldReport* report) {
  const std::int64_t page = ::sysconf(_SC_PAGESIZE);
  order.bytes = (order.bytes + page - 1) / page * page;
  const auto size = static_cast<size_t>(order.bytes);
  void* memory = nullptr;
  if (order.bytes > 0) {
    memory = ::mmap(nullptr, size, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return 3;
    // A huge page would be 512 times the step.
    ::madvise(memory, size, MADV_NOHUGEPAGE);
  }
  Hold(static_cast<char*>(memory), order, report);
  report->closing_ns.store(HelperNow());
  if (order.bytes > 0) ::munmap(memory, size);
  report->closed_ns.store(HelperNow());
  return 0;
}

}  // namespace
}  // namespace faultline

int main(int argc, char** argv) {
  const auto argument = [argc, argv](const char* name) {
    return faultline::Argument(argc, argv, name);
  };
  faultline::Order order{argument("--bytes"), argument("--rate")};
  if (order.bytes < 0 || order.rate < 0 || (order.bytes > 0 && order.rate == 0)) return 2;
  if (argument("--on") > 0) {
    order.start_ns = argument("--start");
    order.on_ns = argument("--on");
    order.off_ns = argument("--off");
    if (order.start_ns < 0 || order.off_ns <= 0) return 2;
  }
  faultline::HoldReport* report = faultline::MapReport();
  if (report == nullptr) return 2;
  faultline::BecomeHelper();
  return faultline::Run(order, report);
}
