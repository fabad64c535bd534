// SPDX-License-Identifier: Apache-2.0
#include "tests/witness/stalls.h"

#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <ctime>

#include "tests/witness/now.h"

namespace faultline::witness {
namespace {

// A ring: more of them than any trial makes.
constexpr std::uint64_t kKept = 1 << 14;

// What a stand-in is kept from by the host's daily work is no end of what it had.
constexpr std::int64_t kTogetherNs = 200'000;

template <typename T>
T* Shared() {
  void* const memory =
      ::mmap(nullptr, sizeof(T), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  return static_cast<T*>(memory);
}

void StayOn(int cpu) {
  if (cpu < 0) return;
  cpu_set_t only;
  CPU_ZERO(&only);
  CPU_SET(static_cast<std::size_t>(cpu), &only);
  if (::sched_setaffinity(0, sizeof(only), &only) != 0) std::abort();
}

}  // namespace

struct Stalls::Account {
  std::atomic<bool> running;
  // Written so far; the stall at its index is whole before this counts it.
  std::atomic<std::uint64_t> count;
  std::array<Stall, kKept> stalls;
};

Stalls::Stalls(std::int64_t shortest_ns) : account_(Shared<Account>()), shortest_ns_(shortest_ns) {}

Stalls::~Stalls() { ::munmap(account_, sizeof(Account)); }

int Stalls::Spin(int cpu) {
  StayOn(cpu);
  std::int64_t last_ns = NowNs();
  account_->running = true;
  while (true) {
    const std::int64_t now_ns = NowNs();
    if (now_ns - last_ns > shortest_ns_) {
      const std::uint64_t index = account_->count.load();
      account_->stalls[index % kKept] = {last_ns, now_ns};
      account_->count.store(index + 1);
    }
    last_ns = now_ns;
  }
}

std::vector<Stall> Stalls::Since(std::int64_t since_ns) const {
  const std::uint64_t count = account_->count.load();
  std::vector<Stall> stalls;
  for (std::uint64_t i = count - std::min(count, kKept - 1); i < count; ++i) {
    const Stall stall = account_->stalls[i % kKept];
    if (stall.end_ns > since_ns) stalls.push_back(stall);
  }
  return stalls;
}

bool Stalls::running() const { return account_->running; }

struct StandIn::Account {
  struct Span {
    std::atomic<std::int64_t> begin_ns;
    // Of the last one: so far.
    std::atomic<std::int64_t> end_ns;
  };
  // Begun so far.
  std::atomic<std::uint64_t> count;
  std::array<Span, kKept> spans;
};

StandIn::StandIn() : account_(Shared<Account>()) {}

StandIn::~StandIn() { ::munmap(account_, sizeof(Account)); }

int StandIn::Spin(int cpu) {
  StayOn(cpu);
  const sched_param none{};
  if (::sched_setscheduler(0, SCHED_IDLE, &none) != 0) std::abort();
  std::int64_t last_ns = 0;
  Account::Span* span = nullptr;
  while (true) {
    const std::int64_t now_ns = NowNs();
    if (now_ns - last_ns > kTogetherNs) {
      const std::uint64_t index = account_->count.load();
      span = &account_->spans[index % kKept];
      span->begin_ns = now_ns;
      span->end_ns = now_ns;
      account_->count.store(index + 1);
    }
    span->end_ns.store(now_ns, std::memory_order_relaxed);
    last_ns = now_ns;
  }
}

bool StandIn::running() const { return account_->count != 0; }

std::vector<Stall> StandIn::Beside(std::vector<Stall> stalls) const {
  const std::uint64_t count = account_->count.load();
  std::uint64_t next = count - std::min(count, kKept - 1);
  for (Stall& stall : stalls) {
    std::int64_t first_ns = stall.end_ns;
    std::int64_t last_ns = stall.begin_ns;
    for (; next < count; ++next) {
      const Account::Span& span = account_->spans[next % kKept];
      if (span.begin_ns >= stall.end_ns) break;
      if (span.end_ns <= stall.begin_ns) continue;
      first_ns = std::min(first_ns, std::max<std::int64_t>(span.begin_ns, stall.begin_ns));
      last_ns = std::max(last_ns, std::min<std::int64_t>(span.end_ns, stall.end_ns));
      // The next stall's as well.
      if (span.end_ns > stall.end_ns) break;
    }
    stall.begin_blind_ns = first_ns - stall.begin_ns;
    stall.end_blind_ns = stall.end_ns - last_ns;
  }
  return stalls;
}

int WitnessCpu() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  ::sched_getaffinity(0, sizeof(allowed), &allowed);
  int last = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(static_cast<std::size_t>(cpu), &allowed)) last = cpu;
  }
  return last;
}

Stall Longest(const std::vector<Stall>& stalls) {
  Stall longest;
  for (const Stall& stall : stalls) {
    if (!stall.dark() && stall.length_ns() > longest.length_ns()) longest = stall;
  }
  return longest;
}

Stall Chain(const std::vector<Stall>& stalls, std::int64_t sure_ns, std::int64_t run_ns) {
  Stall chain;
  bool sure = false;
  // The stall before this one was a sure one.
  bool after_sure = false;
  std::int64_t stood_ns = 0;
  // The longest dark one since the chain's last, or before its first.
  std::int64_t dark_ns = 0;
  for (const Stall& stall : stalls) {
    if (stood_ns != 0 && stall.begin_ns - stood_ns > run_ns) {
      if (sure) break;
      chain = {};
      dark_ns = 0;
    }
    stood_ns = stall.end_ns;
    if (stall.dark()) {
      dark_ns = std::max(dark_ns, stall.length_ns());
      continue;
    }
    const bool whole = stall.length_ns() >= sure_ns;
    if (chain.end_ns == 0) {
      chain.begin_ns = stall.begin_ns;
      chain.begin_blind_ns = std::max(stall.begin_blind_ns, dark_ns);
    }
    const bool last = after_sure && stall.begin_ns - chain.end_ns <= run_ns;
    if (!sure || whole || last) {
      chain.end_ns = stall.end_ns;
      chain.end_blind_ns = stall.end_blind_ns;
      dark_ns = 0;
    }
    sure = sure || whole;
    after_sure = whole;
  }
  chain.end_blind_ns = std::max(chain.end_blind_ns, dark_ns);
  return sure ? chain : Stall{};
}

std::int64_t CpuNs(pid_t pid) {
  clockid_t clock{};
  timespec used{};
  if (::clock_getcpuclockid(pid, &clock) != 0 || ::clock_gettime(clock, &used) != 0) return -1;
  return ToNs(used);
}

}  // namespace faultline::witness
