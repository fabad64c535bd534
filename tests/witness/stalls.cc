// SPDX-License-Identifier: Apache-2.0
#include "tests/witness/stalls.h"

#include <sys/mman.h>
#include <sys/resource.h>

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

// Of this process, so far.
std::int64_t Switches() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  return used.ru_nvcsw + used.ru_nivcsw;
}

}  // namespace

struct Stalls::Account {
  std::atomic<bool> running;
  // Written so far; the stall at its index is whole before this counts it.
  std::atomic<std::uint64_t> count;
  std::array<Stall, kKept> stalls;
};

Stalls::Stalls(std::int64_t shortest_ns) : shortest_ns_(shortest_ns) {
  void* const memory =
      ::mmap(nullptr, sizeof(Account), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  account_ = static_cast<Account*>(memory);
}

Stalls::~Stalls() { ::munmap(account_, sizeof(Account)); }

int Stalls::Spin() {
  std::int64_t switches = Switches();
  std::int64_t last_ns = NowNs();
  account_->running = true;
  while (true) {
    const std::int64_t now_ns = NowNs();
    if (now_ns - last_ns > shortest_ns_) {
      const std::uint64_t index = account_->count.load();
      const std::int64_t before = switches;
      switches = Switches();
      account_->stalls[index % kKept] = {last_ns, now_ns, switches != before};
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

Stall Longest(const std::vector<Stall>& stalls) {
  Stall longest;
  for (const Stall& stall : stalls) {
    if (stall.length_ns() > longest.length_ns()) longest = stall;
  }
  return longest;
}

Stall Chain(const std::vector<Stall>& stalls, std::int64_t sure_ns, std::int64_t run_ns) {
  Stall chain;
  bool sure = false;
  // The stall before this one was a sure one.
  bool after_sure = false;
  std::int64_t stood_ns = 0;
  for (const Stall& stall : stalls) {
    if (stood_ns != 0 && stall.begin_ns - stood_ns > run_ns) {
      if (sure) break;
      chain = {};
    }
    stood_ns = stall.end_ns;
    if (!stall.switched) continue;
    const bool whole = stall.length_ns() >= sure_ns;
    if (chain.end_ns == 0) chain.begin_ns = stall.begin_ns;
    const bool last = after_sure && stall.begin_ns - chain.end_ns <= run_ns;
    if (!sure || whole || last) chain.end_ns = stall.end_ns;
    sure = sure || whole;
    after_sure = whole;
  }
  return sure ? chain : Stall{};
}

std::int64_t CpuNs(pid_t pid) {
  clockid_t clock{};
  timespec used{};
  if (::clock_getcpuclockid(pid, &clock) != 0 || ::clock_gettime(clock, &used) != 0) return -1;
  return ToNs(used);
}

}  // namespace faultline::witness
