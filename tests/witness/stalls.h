// SPDX-License-Identifier: Apache-2.0
//
// A process that does nothing but read the clock, and notes each time at which it could not: from
// which moment to which it stood still. What it notes is in memory that it shares with whoever made
// this before the fork. Owned by one thread.
#pragma once

#include <sys/types.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace faultline::witness {

struct Stall {
  // The last moment before and the first moment after at which it ran.
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
  // From the begin, and up to the end, as long as nobody knows whose the CPU was: by a stand-in,
  // below. It began to be held back so much later, or was let go so much earlier.
  std::int64_t begin_blind_ns = 0;
  std::int64_t end_blind_ns = 0;

  std::int64_t length_ns() const { return end_ns - begin_ns; }
  std::int64_t blind_ns() const { return std::max(begin_blind_ns, end_blind_ns); }
  // It was not held back: its CPU was another's, or the hypervisor's.
  bool dark() const { return begin_blind_ns > 0 && begin_blind_ns >= length_ns(); }
};

class Stalls {
 public:
  // Shorter ones are the host's daily work.
  explicit Stalls(std::int64_t shortest_ns);
  ~Stalls();
  Stalls(const Stalls&) = delete;
  Stalls& operator=(const Stalls&) = delete;

  // In the process to watch: never returns. `cpu`: where it stays; -1: anywhere.
  [[noreturn]] int Spin(int cpu = -1);

  // Those that ended after `since_ns`, in their order.
  std::vector<Stall> Since(std::int64_t since_ns) const;
  // Whether it has begun to run.
  bool running() const;

 private:
  struct Account;
  Account* account_ = nullptr;
  const std::int64_t shortest_ns_;
};

// A process that has its CPU only as long as nobody else wants it, and notes from when to when that
// was. Beside one that always wants it, on the same CPU: who stands still is held back where this
// one runs, and where neither runs somebody took the CPU from both. It also keeps a virtual CPU
// from being given back, which takes its hypervisor as long as it likes to undo. Owned by one
// thread.
class StandIn {
 public:
  StandIn();
  ~StandIn();
  StandIn(const StandIn&) = delete;
  StandIn& operator=(const StandIn&) = delete;

  // In the process itself, whose group has to come last as well: never returns.
  [[noreturn]] int Spin(int cpu);

  // Whether it has begun to run.
  bool running() const;
  // Of `stalls` on its CPU, in their order, how long nobody knows.
  std::vector<Stall> Beside(std::vector<Stall> stalls) const;

 private:
  struct Account;
  Account* account_ = nullptr;
};

// The CPU that watched processes share: the last one that the caller may use.
int WitnessCpu();

// The longest that is not dark; all 0 if there is none.
Stall Longest(const std::vector<Stall>& stalls);

// A run of stalls as a quota makes them: between two of them the process runs for at most `run_ns`.
// Each has at least `sure_ns`, but for the first, as a quota's first period began before it was
// used up, and one at the end, which was cut short: what comes after that is the host's own. Dark
// ones are none of it, but as near as `run_ns` to an end of it hide what may be there, which is
// that end's blindness then. The first run that has one of `sure_ns`; all 0: there is none.
Stall Chain(const std::vector<Stall>& stalls, std::int64_t sure_ns, std::int64_t run_ns);

// CPU time of a process, ns, by its own clock; -1: it is gone.
std::int64_t CpuNs(pid_t pid);

}  // namespace faultline::witness
