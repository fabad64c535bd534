// SPDX-License-Identifier: Apache-2.0
//
// The table of times by task, as the BPF programs use it, over an array of this process.
#include <gtest/gtest.h>
#include <linux/types.h>

#include <array>
#include <cstdint>
#include <random>
#include <unordered_map>
#include <vector>

// What the header takes from libbpf.
#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif
static void* bpf_map_lookup_elem(void* map, const void* key);
#include "bpf/task_times.bpf.h"

static void* bpf_map_lookup_elem(void* map, const void* key) {
  return static_cast<task_set*>(map) + *static_cast<const __u32*>(key);
}

namespace faultline {
namespace {

// PID_MAX_LIMIT.
constexpr __u32 kPidMax = 1 << 22;

class TaskTimes : public testing::Test {
 protected:
  bool Remember(__u32 pid, __u32 mark, __u64 time) {
    return task_remember(sets_.data(), pid, mark, time);
  }
  __u64 Recall(__u32 pid) { return task_recall(sets_.data(), pid); }
  std::vector<task_set> sets_ = std::vector<task_set>(TASK_SETS);
};

TEST_F(TaskTimes, Recall_GivesBackOnceWhatWasRemembered) {
  constexpr __u64 kThen = 123'456'789'012'345;
  EXPECT_EQ(Recall(4711), 0U);
  ASSERT_TRUE(Remember(4711, 3, kThen));
  const __u64 entry = Recall(4711);
  EXPECT_EQ(entry & TASK_MARK_MASK, 3U);
  EXPECT_NEAR(static_cast<double>(task_elapsed(entry, kThen + 1'000'000)), 1e6, 16);
  EXPECT_LE(task_elapsed(entry, kThen - 1000), -984);
  EXPECT_EQ(Recall(4711), 0U);
}

TEST_F(TaskTimes, Elapsed_AcrossTheWrapOfTheClock) {
  // The largest time that fits, less a microsecond.
  constexpr __u64 kThen = (1ULL << 56) - 1000;
  ASSERT_TRUE(Remember(1, 1, kThen));
  EXPECT_NEAR(static_cast<double>(task_elapsed(Recall(1), kThen + 5000)), 5000, 16);
}

TEST_F(TaskTimes, Remember_TasksThatShareASet_AreToldApart) {
  for (__u32 i = 0; i < TASK_WAYS; ++i) {
    ASSERT_TRUE(Remember(7 + i * TASK_SETS, 1 + i % 3, 1000 * i));
  }
  EXPECT_FALSE(Remember(7 + TASK_WAYS * TASK_SETS, 1, 0));
  // The last pid of all is in the same set as pid TASK_SETS - 1.
  EXPECT_TRUE(Remember(kPidMax - 1, 2, 0));
  EXPECT_EQ(Recall(TASK_SETS - 1), 0U);
  for (__u32 i = TASK_WAYS; i-- > 0;) {
    const __u64 entry = Recall(7 + i * TASK_SETS);
    EXPECT_EQ(entry & TASK_MARK_MASK, 1 + i % 3);
    EXPECT_NEAR(static_cast<double>(task_elapsed(entry, 1000 * i)), 0, 16);
  }
  EXPECT_NE(Recall(kPidMax - 1), 0U);
}

// 3,000 tasks that block and come back in any order, against a map.
TEST_F(TaskTimes, RandomWalk_NothingIsLostOrMixedUp) {
  std::mt19937_64 random(5);
  std::unordered_map<__u32, __u64> model;
  std::vector<__u32> pids(3000);
  for (__u32& pid : pids) pid = static_cast<__u32>(random() % kPidMax);
  __u64 now = 1'000'000;
  int refused = 0;
  for (int i = 0; i < 1'000'000; ++i) {
    now += random() % 10'000;
    const __u32 pid = pids[random() % pids.size()];
    const auto blocked = model.find(pid);
    if (blocked == model.end()) {
      ASSERT_EQ(Recall(pid), 0U);
      if (Remember(pid, 1, now)) {
        model[pid] = now;
      } else {
        ++refused;
      }
      continue;
    }
    const __u64 entry = Recall(pid);
    ASSERT_NE(entry, 0U);
    ASSERT_NEAR(static_cast<double>(task_elapsed(entry, now)),
                static_cast<double>(now - blocked->second), 16);
    model.erase(blocked);
  }
  EXPECT_EQ(refused, 0);
}

}  // namespace
}  // namespace faultline
