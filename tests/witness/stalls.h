// SPDX-License-Identifier: Apache-2.0
//
// A process that does nothing but read the clock, and notes each time at which it could not: from
// which moment to which it stood still. What it notes is in memory that it shares with whoever made
// this before the fork. Owned by one thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <vector>

namespace faultline::witness {

struct Stall {
  // The last moment before and the first moment after at which it ran.
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
  // Whether the kernel took its CPU away. Else a hypervisor took the kernel's.
  bool switched = true;

  std::int64_t length_ns() const { return end_ns - begin_ns; }
};

class Stalls {
 public:
  // Shorter ones are the host's daily work.
  explicit Stalls(std::int64_t shortest_ns);
  ~Stalls();
  Stalls(const Stalls&) = delete;
  Stalls& operator=(const Stalls&) = delete;

  // In the process to watch: never returns.
  [[noreturn]] int Spin();

  // Those that ended after `since_ns`, in their order.
  std::vector<Stall> Since(std::int64_t since_ns) const;
  // Whether it has begun to run.
  bool running() const;

 private:
  struct Account;
  Account* account_ = nullptr;
  const std::int64_t shortest_ns_;
};

// The longest; all 0 if there is none.
Stall Longest(const std::vector<Stall>& stalls);

// A run of stalls as a quota makes them, which switch: between two of them the process runs for at
// most `run_ns`. Each has at least `sure_ns`, but for the first, as a quota's first period began
// before it was used up, and one at the end, which was cut short: what comes after that is the
// host's own. The first run that has one of `sure_ns`; all 0: there is none.
Stall Chain(const std::vector<Stall>& stalls, std::int64_t sure_ns, std::int64_t run_ns);

// CPU time of a process, ns, by its own clock; -1: it is gone.
std::int64_t CpuNs(pid_t pid);

}  // namespace faultline::witness
