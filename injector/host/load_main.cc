// SPDX-License-Identifier: Apache-2.0
//
// faultline-load --fault ID --mcpus N [--start NS --ramp NS | --start NS --on NS --off NS]: burns
// CPU time so that its control group, everybody else in it included, uses N thousandths of a CPU;
// with a shape, counted from --start on (CLOCK_BOOTTIME), as much of that as the shape has. It is
// started and moved into its group by the injector, and waits for the go before it burns anything.
//
// It closes the loop itself, from the group's own usage on descriptor 4: the injector opened that
// file, so no path is looked up inside a container, and an injector that is busy, or undoing
// something else, does not let the load drift. It never reads anything else.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <system_error>
#include <thread>
#include <vector>

#include "injector/host/helper_program.h"

namespace faultline {
namespace {

constexpr std::int64_t kNsPerSecond = 1'000'000'000;
constexpr std::int64_t kNsPerUs = 1000;
// Each thread burns once in that time: a metric of 100 ms windows sees a steady use.
constexpr std::int64_t kPeriodNs = 10'000'000;
// Between two looks at the group's usage. The kernel books the others' time at scheduler ticks of 1
// to 10 ms, so a shorter one would chase that noise.
constexpr std::int64_t kWindowNs = 50'000'000;
// The first one, in which nothing is burnt yet: two of the longest ticks show roughly what the
// others use.
constexpr std::int64_t kFirstWindowNs = 20'000'000;
// Between two looks of a thread at its own CPU time, a system call.
constexpr std::int64_t kChunkNs = 20'000;
// Weight of the newest window in what the others are taken to use.
constexpr double kNewest = 0.3;
// Time in which what was burnt too little or too much is made up for, and the most of it, in ns for
// each CPU: more would be a burst after a time without CPU.
constexpr double kCatchUpNs = 300e6;
constexpr double kMostErrorNs = 50e6;
constexpr std::int64_t kMaxThreads = 64;

// What is asked for.
struct Order {
  std::int64_t mcpus = 0;
  std::int64_t start_ns = 0;
  std::int64_t ramp_ns = 0;
  std::int64_t on_ns = 0;
  std::int64_t off_ns = 0;
};

// Between the control and the threads.
struct Work {
  HoldReport* report = nullptr;
  // CPU time that each thread burns in a period.
  std::atomic<std::int64_t> slice_ns{0};
  std::atomic<bool> end{false};
};

std::int64_t CpuTime(clockid_t clock) {
  timespec used{};
  ::clock_gettime(clock, &used);
  return used.tv_sec * kNsPerSecond + used.tv_nsec;
}

void SleepUntil(std::int64_t at_ns) {
  const timespec at{at_ns / kNsPerSecond, at_ns % kNsPerSecond};
  ::clock_nanosleep(CLOCK_BOOTTIME, TIMER_ABSTIME, &at, nullptr);
}

void Touched(HoldReport* report) {
  const std::int64_t now_ns = HelperNow();
  std::int64_t none = 0;
  report->first_touch_ns.compare_exchange_strong(none, now_ns);
  report->last_touch_ns.store(now_ns);
}

// Burns `slice_ns` of this thread's CPU time, by `until_ns` at the latest. No memory is touched.
void BurnSlice(std::int64_t slice_ns, std::int64_t until_ns, Work* work) {
  const std::int64_t begin_ns = HelperNow();
  const std::int64_t before = CpuTime(CLOCK_THREAD_CPUTIME_ID);
  bool more = true;
  while (more) {
    const std::int64_t left = slice_ns - (CpuTime(CLOCK_THREAD_CPUTIME_ID) - before);
    const std::int64_t chunk_end = HelperNow() + std::min(left, kChunkNs);
    while (HelperNow() < chunk_end) {
      for (int i = 0; i < 500; ++i) asm volatile("");
    }
    Touched(work->report);
    more = left > kChunkNs && chunk_end < until_ns && !work->end.load();
  }
  const std::int64_t took_ns = HelperNow() - begin_ns;
  std::int64_t longest = work->report->step_ns.load();
  while (took_ns > longest && !work->report->step_ns.compare_exchange_weak(longest, took_ns)) {
  }
}

// A thread, from its first period on.
void Burn(std::int64_t first_ns, Work* work) {
  std::int64_t next_ns = first_ns;
  while (!work->end.load()) {
    SleepUntil(next_ns);
    // What a thread could not burn in time is the control's to make up for.
    next_ns = std::max(next_ns + kPeriodNs, HelperNow());
    const std::int64_t slice_ns = work->slice_ns.load();
    if (slice_ns > 0) BurnSlice(slice_ns, next_ns, work);
  }
}

// What the group has used so far: cpuacct.usage has ns alone, cpu.stat a line "usage_usec N". -1:
// it cannot be read.
std::int64_t GroupUsage() {
  constexpr const char* kKey = "usage_usec ";
  std::array<char, 1024> text{};
  const ssize_t size = ::pread(kHoldFeedFd, text.data(), text.size() - 1, 0);
  if (size <= 0) return -1;
  const char* line = std::strstr(text.data(), kKey);
  if (line == nullptr) return std::strtoll(text.data(), nullptr, 10);
  return std::strtoll(line + std::strlen(kKey), nullptr, 10) * kNsPerUs;
}

// One look at the group. The helper's own time first: reading it has the kernel book what its
// running threads have used, so that the group's holds all of it.
struct Look {
  std::int64_t at_ns = HelperNow();
  std::int64_t own_ns = CpuTime(CLOCK_PROCESS_CPUTIME_ID);
  std::int64_t group_ns = GroupUsage();
};

class Control {
 public:
  Control(const Order& order, HoldReport* report)
      : order_(order),
        threads_(std::clamp<std::int64_t>((order.mcpus + 999) / 1000, 1, kMaxThreads)) {
    work_.report = report;
    before_ns_ = last_.own_ns;
  }

  // Until the pipe ends.
  void Run() {
    std::vector<std::jthread> threads;
    StartThreads(&threads);
    while (WaitUntil(NextLook())) Steer();
    work_.report->closing_ns.store(HelperNow());
    work_.end.store(true);
    threads.clear();
    work_.report->burnt_ns.store(CpuTime(CLOCK_PROCESS_CPUTIME_ID) - before_ns_);
    work_.report->closed_ns.store(HelperNow());
  }

 private:
  // As many as there can be: a group may have a limit on its tasks.
  void StartThreads(std::vector<std::jthread>* threads) {
    Work* const work = &work_;
    try {
      for (std::int64_t i = 0; i < threads_; ++i) {
        const std::int64_t first_ns = last_.at_ns + i * kPeriodNs / threads_;
        threads->emplace_back([first_ns, work] { Burn(first_ns, work); });
      }
    } catch (const std::system_error&) {
      threads_ = std::max<std::int64_t>(1, static_cast<std::int64_t>(threads->size()));
    }
  }

  // CPUs that the group is to use at `at_ns`.
  double Wanted(std::int64_t at_ns) const {
    const double full = static_cast<double>(order_.mcpus) / 1000;
    const std::int64_t in_ns = std::max<std::int64_t>(0, at_ns - order_.start_ns);
    if (order_.on_ns > 0) return in_ns % (order_.on_ns + order_.off_ns) < order_.on_ns ? full : 0;
    if (in_ns >= order_.ramp_ns) return full;
    return full * static_cast<double>(in_ns) / static_cast<double>(order_.ramp_ns);
  }

  // After a window, or where a pulse begins or ends.
  std::int64_t NextLook() const {
    const std::int64_t next_ns = last_.at_ns + (seen_ ? kWindowNs : kFirstWindowNs);
    if (order_.on_ns <= 0) return next_ns;
    const std::int64_t round_ns = order_.on_ns + order_.off_ns;
    const std::int64_t in_ns = std::max<std::int64_t>(0, last_.at_ns - order_.start_ns) % round_ns;
    const std::int64_t edge_ns =
        last_.at_ns - in_ns + (in_ns < order_.on_ns ? order_.on_ns : round_ns);
    return std::min(next_ns, edge_ns);
  }

  // What is wanted less what the others use, and a share of what was missed so far.
  void Steer() {
    const Look now;
    work_.report->burnt_ns.store(now.own_ns - before_ns_);
    if (now.group_ns < 0 || last_.group_ns < 0 || now.at_ns <= last_.at_ns) {
      work_.slice_ns.store(0);
      last_ = now;
      return;
    }
    const auto window_ns = static_cast<double>(now.at_ns - last_.at_ns);
    const auto group_ns = static_cast<double>(now.group_ns - last_.group_ns);
    const auto own_ns = static_cast<double>(now.own_ns - last_.own_ns);
    const double weight = seen_ ? kNewest * window_ns / static_cast<double>(kWindowNs) : 1;
    others_ += weight * (std::max(0.0, group_ns - own_ns) / window_ns - others_);
    group_ += weight * (group_ns / window_ns - group_);
    const double was_wanted = Wanted(last_.at_ns + (now.at_ns - last_.at_ns) / 2);
    const double wanted = Wanted(now.at_ns);
    // What the first window, one to look at, left out is made up for as well.
    error_ns_ += was_wanted * window_ns - group_ns;
    const double most_ns = kMostErrorNs * static_cast<double>(threads_);
    error_ns_ = std::clamp(error_ns_, -most_ns, most_ns);
    // Not ours to make up for: nothing is wanted, or the others use more by themselves.
    if (wanted <= 0 || wanted < others_) error_ns_ = 0;
    const double cpus = std::clamp(wanted <= 0 ? 0 : wanted - others_ + error_ns_ / kCatchUpNs, 0.0,
                                   static_cast<double>(threads_));
    work_.slice_ns.store(static_cast<std::int64_t>(cpus * static_cast<double>(kPeriodNs) /
                                                   static_cast<double>(threads_)));
    work_.report->group_mcpus.store(static_cast<std::int64_t>(group_ * 1000));
    seen_ = true;
    last_ = now;
  }

  const Order order_;
  std::int64_t threads_;
  Work work_;
  Look last_;
  // Of the helper, before its go.
  std::int64_t before_ns_ = 0;
  // A window has been seen.
  bool seen_ = false;
  // CPUs that the others use, and that the group uses.
  double others_ = 0;
  double group_ = 0;
  // CPU time that the group used too little since the start.
  double error_ns_ = 0;
};

}  // namespace
}  // namespace faultline

int main(int argc, char** argv) {
  const auto argument = [argc, argv](const char* name) {
    return std::max<std::int64_t>(0, faultline::Argument(argc, argv, name));
  };
  const faultline::Order order{argument("--mcpus"), argument("--start"), argument("--ramp"),
                               argument("--on"), argument("--off")};
  if (order.mcpus == 0 || (order.on_ns > 0) != (order.off_ns > 0)) return 2;
  faultline::HoldReport* report = faultline::MapReport();
  if (report == nullptr) return 2;
  faultline::BecomeHelper();
  if (!faultline::WaitForGo()) return 0;
  faultline::Control(order, report).Run();
  return 0;
}
