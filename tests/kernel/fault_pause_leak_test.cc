// SPDX-License-Identifier: Apache-2.0
//
// process.pause and mem.leak, each alone and both on one target, undone in either order.
#include <fstream>
#include <sstream>

#include "absl/strings/str_split.h"
#include "tests/kernel/fault_fixture.h"

namespace faultline {
namespace {

constexpr std::int64_t kMiB = 1 << 20;

class PauseAndLeak : public FaultTest {
 protected:
  v1::FaultSpec Leak(const std::string& name, const char* bytes, const char* rate) const {
    v1::FaultSpec spec = Spec("mem.leak", name, 30);
    (*spec.mutable_parameters())["bytes"] = bytes;
    (*spec.mutable_parameters())["rate"] = rate;
    return spec;
  }

  // User and system time of the helper in clock ticks, as /proc/PID/stat has them.
  static std::int64_t HelperCpuTicks() {
    const std::vector<pid_t> helpers = Helpers(Id(""));
    if (helpers.size() != 1) return -1;
    std::ifstream in(absl::StrCat("/proc/", helpers[0], "/stat"));
    std::ostringstream text;
    text << in.rdbuf();
    const std::vector<std::string> words = absl::StrSplit(text.str(), ' ');
    std::int64_t user = 0;
    std::int64_t system = 0;
    if (words.size() < 15 || !absl::SimpleAtoi(words[13], &user) ||
        !absl::SimpleAtoi(words[14], &system)) {
      return -1;
    }
    return user + system;
  }

  // Waits until the group's memory has grown by `bytes` since `before`, less what the kernel
  // charges ahead of use and gives back (64 pages per CPU, MEMCG_CHARGE_BATCH).
  bool Grows(std::int64_t before, std::int64_t bytes, int ms) const {
    bytes -= kMiB;
    for (int i = 0; i < ms / 10 && MemoryUsage() - before < bytes; ++i) SleepMs(10);
    EXPECT_GE(MemoryUsage() - before, bytes);
    return MemoryUsage() - before >= bytes;
  }
};

TEST_F(PauseAndLeak, PauseStopsAChild_AndLetsItGoOn) {
  const Spinner spinner(group_.get());
  ASSERT_TRUE(spinner.started());
  while (spinner.rounds() == 0) SleepMs(1);
  ASSERT_TRUE(injector_.Inject(Spec("process.pause", "pause", 2)).ok());
  const std::int64_t frozen_at = spinner.rounds();
  SleepMs(1000);
  EXPECT_EQ(spinner.rounds(), frozen_at);
  const v1::FaultState ended = injector_.WaitForEnd(Id("pause"), 10);
  EXPECT_TRUE(spinner.GetsOn());
  EXPECT_EQ(ended.phase(), v1::PHASE_UNDONE);
  ASSERT_EQ(ended.dose_size(), 1);
  EXPECT_EQ(ended.dose(0).name(), "paused_ns");
  EXPECT_NEAR(static_cast<double>(ended.dose(0).value()), 2e9, 0.3e9);
  EXPECT_NE(ended.edges().first_touch().boottime_ns(), 0);
}

TEST_F(PauseAndLeak, PauseOfAnEmptyGroupTouchesNothing) {
  ASSERT_TRUE(injector_.Inject(Spec("process.pause", "pause", 30)).ok());
  SleepMs(100);
  const auto stopped = injector_.Stop(Id("pause"));
  ASSERT_TRUE(stopped.ok());
  EXPECT_EQ(stopped->dose(0).value(), 0);
  EXPECT_EQ(stopped->edges().first_touch().boottime_ns(), 0);
}

TEST_F(PauseAndLeak, PauseOfAFrozenGroupIsRefused) {
  if (!group_->Write("freezer", "freezer.state", "FROZEN").ok()) {
    ASSERT_TRUE(group_->Write("freezer", "cgroup.freeze", "1").ok());
  }
  const std::string frozen = Digest();
  const auto started = injector_.Inject(Spec("process.pause", "pause", 30));
  EXPECT_TRUE(absl::IsFailedPrecondition(started.status())) << started.status();
  EXPECT_EQ(Digest(), frozen);
  if (!group_->Write("freezer", "freezer.state", "THAWED").ok()) {
    ASSERT_TRUE(group_->Write("freezer", "cgroup.freeze", "0").ok());
  }
}

TEST_F(PauseAndLeak, LeakGrowsAtItsRate_HoldsWithoutCpu_AndIsGivenBack) {
  const std::int64_t before = MemoryUsage();
  ASSERT_GE(before, 0) << "no memory controller";
  const std::int64_t begin_ns = Clock::System().Now().boottime_ns;
  ASSERT_TRUE(injector_.Inject(Leak("leak", "32MiB", "16MiB/s")).ok());
  SleepMs(1000);
  const double seconds = static_cast<double>(Clock::System().Now().boottime_ns - begin_ns) / 1e9;
  const auto grown = static_cast<double>(MemoryUsage() - before);
  EXPECT_NEAR(grown / seconds, 16.0 * kMiB, 4.0 * kMiB);
  ASSERT_TRUE(Grows(before, 32 * kMiB, 5000)) << MemoryUsage() - before;
  const auto full = [&] {
    const v1::FaultState now = injector_.Find(Id("leak"));
    return now.dose_size() > 0 && now.dose(0).value() == 32 * kMiB;
  };
  for (int i = 0; i < 500 && !full(); ++i) SleepMs(10);
  const std::int64_t held = MemoryUsage();
  // The kernel charges page tables and its own structures too.
  EXPECT_LT(held - before, 34 * kMiB);
  const v1::FaultState state = injector_.Find(Id("leak"));
  EXPECT_EQ(state.dose(0).name(), "held_bytes");
  EXPECT_EQ(state.dose(0).value(), 32 * kMiB);
  EXPECT_NE(state.edges().first_touch().boottime_ns(), 0);
  EXPECT_LT(state.edges().first_touch().error_ns(), 100 * kNsPerMs);

  const std::int64_t cpu = HelperCpuTicks();
  SleepMs(1000);
  EXPECT_LE(HelperCpuTicks() - cpu, 0);
  ASSERT_TRUE(injector_.Stop(Id("leak")).ok());
  EXPECT_LT(MemoryUsage() - before, kMiB);
  EXPECT_EQ(CountHelpers(Id("")), 0);
}

// A helper that stands still hears nothing, and on cgroup v1 a frozen one does not die either: that
// takes longer than others' deadlines can wait.
TEST_F(PauseAndLeak, TheEndOfALeakInAPausedGroup_KeepsNoOtherWaiting) {
  const std::int64_t before = MemoryUsage();
  // Due while the leak is being ended.
  v1::FaultSpec loss = Spec("net.loss", "loss", 0);
  (*loss.mutable_parameters())["loss"] = "50%";
  (*loss.mutable_parameters())["direction"] = "in";
  loss.set_duration_ns(2'200 * kNsPerMs);
  v1::FaultSpec leak = Leak("leak", "8MiB", "1GiB/s");
  leak.set_duration_ns(2 * kNsPerSecond);
  ASSERT_TRUE(injector_.Inject(loss).ok());
  ASSERT_TRUE(injector_.Inject(leak).ok());
  ASSERT_TRUE(Grows(before, 8 * kMiB, 1500));
  // On v1 it is in the group's memory only.
  const std::vector<pid_t> helpers = Helpers(leak.id());
  ASSERT_EQ(helpers.size(), 1u);
  ASSERT_TRUE(group_->Write("freezer", "cgroup.procs", absl::StrCat(helpers[0])).ok());
  ASSERT_TRUE(injector_.Inject(Spec("process.pause", "pause", 30)).ok());
  const std::int64_t leak_due_ns = injector_.Find(leak.id()).deadline_boottime_ns();
  ASSERT_LT(injector_.Find(Id("pause")).edges().acked().boottime_ns(), leak_due_ns) << "too slow";
  ASSERT_LT(leak_due_ns, injector_.Find(loss.id()).deadline_boottime_ns()) << "too slow";
  const v1::FaultState lost = injector_.WaitForEnd(loss.id(), 10);
  EXPECT_EQ(lost.phase(), v1::PHASE_UNDONE) << lost.ShortDebugString();
  EXPECT_LT(lost.edges().undone().boottime_ns() - lost.deadline_boottime_ns(), 250 * kNsPerMs);
  const v1::FaultState leaked = injector_.WaitForEnd(leak.id(), 10);
  EXPECT_EQ(leaked.phase(), v1::PHASE_UNDONE) << leaked.ShortDebugString();
  EXPECT_LT(leaked.edges().undone().boottime_ns() - leaked.deadline_boottime_ns(), kNsPerSecond);
  ASSERT_TRUE(injector_.Stop(Id("pause")).ok());
}

TEST_F(PauseAndLeak, LeakBeyondTheGroupsLimitIsRefused) {
  const bool v1 = group_->Write("memory", "memory.limit_in_bytes", "16M").ok();
  if (!v1) {
    ASSERT_TRUE(group_->Write("memory", "memory.max", "16M").ok());
  }
  before_ = Digest();
  const auto started = injector_.Inject(Leak("leak", "64MiB", "64MiB/s"));
  EXPECT_TRUE(absl::IsFailedPrecondition(started.status())) << started.status();
  // Not the group but the host has no room for this one.
  v1::FaultSpec huge = Leak("huge", "1TiB", "64MiB/s");
  (*huge.mutable_parameters())["allow_oom"] = "yes";
  EXPECT_TRUE(absl::IsFailedPrecondition(injector_.Inject(huge).status()));
}

// The helper dies first, the fault is said to have ended, nobody else is harmed. The limit is well
// above what the bystander shares with this program: the kernel's badness counts that too.
TEST_F(PauseAndLeak, LeakThatMeetsTheOomKillerEndsAsInterfered) {
  const bool v1 = group_->Write("memory", "memory.limit_in_bytes", "128M").ok();
  if (!v1) {
    ASSERT_TRUE(group_->Write("memory", "memory.max", "128M").ok());
  }
  before_ = Digest();
  const Spinner bystander(group_.get());
  v1::FaultSpec spec = Leak("leak", "256MiB", "512MiB/s");
  (*spec.mutable_parameters())["allow_oom"] = "yes";
  ASSERT_TRUE(injector_.Inject(spec).ok());
  const v1::FaultState ended = injector_.WaitForEnd(Id("leak"), 30);
  EXPECT_EQ(ended.phase(), v1::PHASE_INTERFERED) << ended.ShortDebugString();
  EXPECT_TRUE(bystander.GetsOn());
}

TEST_F(PauseAndLeak, WorkTogether_AndAreUndoneInEitherOrder) {
  const Spinner spinner(group_.get());
  ASSERT_TRUE(spinner.started());
  const std::int64_t before = MemoryUsage();
  for (const bool leak_first : {true, false}) {
    for (const bool leak_ends_first : {true, false}) {
      SCOPED_TRACE(absl::StrCat(leak_first, leak_ends_first));
      const std::string tag = absl::StrCat(leak_first, leak_ends_first);
      const v1::FaultSpec leak = Leak("leak" + tag, "8MiB", "64MiB/s");
      const v1::FaultSpec pause = Spec("process.pause", "pause" + tag, 30);
      ASSERT_TRUE(injector_.Inject(leak_first ? leak : pause).ok());
      ASSERT_TRUE(injector_.Inject(leak_first ? pause : leak).ok());
      // cgroup v2 has one hierarchy: there a helper that came after the pause grows after it.
      const bool stopped_too = group_->tree().mode() == "v2";
      if (!stopped_too) {
        EXPECT_TRUE(Grows(before, 8 * kMiB, 3000));
      }
      const auto first = injector_.Stop(leak_ends_first ? leak.id() : pause.id());
      ASSERT_TRUE(first.ok());
      EXPECT_EQ(first->phase(), v1::PHASE_UNDONE);
      const auto second = injector_.Stop(leak_ends_first ? pause.id() : leak.id());
      ASSERT_TRUE(second.ok());
      EXPECT_EQ(second->phase(), v1::PHASE_UNDONE);
      EXPECT_EQ(Digest(), before_);
      EXPECT_TRUE(spinner.GetsOn());
    }
  }
}

}  // namespace
}  // namespace faultline
