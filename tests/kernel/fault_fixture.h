// SPDX-License-Identifier: Apache-2.0
//
// What the kernel tests of the faults share: a control group with something to disturb in it, the
// real injector, and probes that owe nothing to the injector.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <thread>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "tests/fault_edges.h"
#include "tests/kernel/host_digest.h"
#include "tests/kernel/injector_process.h"
#include "tests/kernel/test_cgroup.h"

namespace faultline {

inline void SleepMs(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

// A child that spins in a group and keeps account of itself, in memory shared with the test.
class Spinner {
 public:
  struct Account {
    std::atomic<std::int64_t> rounds;
    // Of getrusage(2): user and system time, ns.
    std::atomic<std::int64_t> cpu_ns;
  };

  explicit Spinner(TestCgroup* group) {
    account_ = static_cast<Account*>(
        mmap(nullptr, sizeof(Account), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    Account* account = account_;
    const absl::StatusOr<pid_t> child = group->Spawn([account] {
      while (true) {
        account->rounds.fetch_add(1);
        for (int i = 0; i < 20'000; ++i) asm volatile("");
        rusage usage{};
        getrusage(RUSAGE_SELF, &usage);
        account->cpu_ns.store((usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * kNsPerSecond +
                              (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000);
      }
      return 0;
    });
    started_ = child.ok();
  }
  ~Spinner() { munmap(account_, sizeof(Account)); }
  Spinner(const Spinner&) = delete;
  Spinner& operator=(const Spinner&) = delete;

  bool started() const { return started_; }
  // Whether it gets on within three seconds.
  bool GetsOn() const {
    const std::int64_t before = rounds();
    for (int i = 0; i < 300 && rounds() == before; ++i) SleepMs(10);
    return rounds() > before;
  }
  std::int64_t rounds() const { return account_->rounds.load(); }

  // CPUs that it used over `ms`.
  double Cpus(int ms) const {
    const std::int64_t begin_ns = Clock::System().Now().boottime_ns;
    const std::int64_t before = account_->cpu_ns.load();
    SleepMs(ms);
    const std::int64_t used = account_->cpu_ns.load() - before;
    return static_cast<double>(used) /
           static_cast<double>(Clock::System().Now().boottime_ns - begin_ns);
  }

 private:
  Account* account_ = nullptr;
  bool started_ = false;
};

// When a process was killed and when it was gone.
struct Killed {
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
};

class FaultTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root: control groups are made";
    absl::StatusOr<std::unique_ptr<TestCgroup>> group = TestCgroup::Create("fault");
    ASSERT_TRUE(group.ok()) << group.status();
    group_ = std::move(*group);
    // So that a busy machine does not starve what the test measures.
    if (!group_->Write("cpu", "cpu.shares", "16384").ok()) {
      ASSERT_TRUE(group_->Write("cpu", "cpu.weight", "1600").ok());
    }
    ASSERT_TRUE(injector_.Start().ok());
    before_ = Digest();
  }
  void TearDown() override {
    if (group_ == nullptr) return;
    EXPECT_EQ(Digest(), before_);
    if (injector_.pid() > 0) {
      EXPECT_EQ(injector_.End(SIGTERM), 0);
    }
  }

  // The injector, by SIGKILL.
  Killed Kill() {
    Killed killed;
    killed.begin_ns = Clock::System().Now().boottime_ns;
    EXPECT_EQ(injector_.End(SIGKILL), 128 + SIGKILL);
    killed.end_ns = Clock::System().Now().boottime_ns;
    return killed;
  }

  std::string Digest() const { return HostDigest(*group_, Id(""), devices_); }
  // A fault's id that no other test uses.
  static std::string Id(const std::string& name) { return absl::StrCat("t", getpid(), "-", name); }
  v1::FaultSpec Spec(const std::string& type, const std::string& name, double seconds) const {
    return MakeSpec(type, Id(name), group_->path(), seconds);
  }
  // Bytes charged to the group.
  std::int64_t MemoryUsage() const {
    const std::string v1 = group_->Read("memory", "memory.usage_in_bytes");
    std::int64_t bytes = -1;
    if (!absl::SimpleAtoi(v1.empty() ? group_->Read("memory", "memory.current") : v1, &bytes)) {
      return -1;
    }
    return bytes;
  }

  std::unique_ptr<TestCgroup> group_;
  InjectorProcess injector_;
  // Indexes of the devices that belong to the digest.
  std::set<int> devices_;
  std::string before_;
};

// `undone` with its error holds a moment between the two.
inline void ExpectUndoneCovers(const v1::FaultState& state, const Killed& killed) {
  const v1::Edge& undone = state.edges().undone();
  EXPECT_GE(undone.boottime_ns(), killed.begin_ns) << state.ShortDebugString();
  EXPECT_LE(undone.boottime_ns() - undone.error_ns(), killed.end_ns) << state.ShortDebugString();
}

}  // namespace faultline
