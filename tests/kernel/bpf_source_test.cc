// SPDX-License-Identifier: Apache-2.0
//
// How the BPF source loads, what it does without root, and what happens to slots.
#include "agent/metrics/bpf_source.h"

#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <iostream>
#include <thread>

#include "agent/metrics/bpf_loader.h"
#include "agent/metrics/bpf_subjects.h"
#include "tests/kernel/bpf_meter.h"
#include "tests/kernel/test_cgroup.h"

namespace faultline {
namespace {

// Becomes a user with CAP_BPF and CAP_PERFMON and nothing else.
bool DropPrivileges() {
  constexpr uid_t kNobody = 65534;
  if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) return false;
  if (setresgid(kNobody, kNobody, kNobody) != 0) return false;
  if (setresuid(kNobody, kNobody, kNobody) != 0) return false;
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  for (const int capability : {CAP_BPF, CAP_PERFMON}) {
    data[capability / 32].effective |= 1U << (capability % 32);
    data[capability / 32].permitted |= 1U << (capability % 32);
  }
  return syscall(SYS_capset, &header, data) == 0;
}

// Runs `body` in a child; its exit status.
template <typename Body>
int InChild(const Body& body) {
  const pid_t pid = fork();
  if (pid == 0) _exit(body());
  int status = 0;
  waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

// Before 5.11 some cannot.
bool OldKernel() {
  absl::StatusOr<KernelTypes> types = KernelTypes::Open();
  return types.ok() && types->EnumValue("bpf_map_type", "BPF_MAP_TYPE_TASK_STORAGE") < 0;
}

bool AllMetricsWork(BpfMeter* meter) {
  bool ok = true;
  for (const Metric& metric : Metrics()) {
    const auto* field = std::get_if<BpfField>(&metric.fields[0]);
    const absl::Status verdict = meter->Verdict(metric.column);
    if (field == nullptr || verdict.ok()) continue;
    std::cerr << metric.column << ": " << verdict << "\n";
    if (!absl::IsUnimplemented(verdict) || !OldKernel()) ok = false;
  }
  return ok;
}

// "/" and "~other" are where everything counts that has no place of its own.
bool HasIo(const CgroupTree& tree, const std::string& group) {
  const CgroupTree::Hierarchy* const v1 = tree.For("blkio");
  if ((v1 != nullptr && !v1->v2) || group == "/" || group == "~other") return true;
  return access((CgroupTree::Directory(*tree.V2(), group) + "/io.stat").c_str(), F_OK) == 0;
}

TEST(BpfSource, EveryRowThatNamesAMapLoads) {
  absl::StatusOr<std::unique_ptr<BpfMeter>> meter = BpfMeter::Create();
  ASSERT_TRUE(meter.ok()) << meter.status();
  EXPECT_TRUE(AllMetricsWork(meter->get()));
  absl::StatusOr<CgroupTree> tree = CgroupTree::Read();
  ASSERT_TRUE(tree.ok());
  (*meter)->Read();
  (*meter)->Read();
  for (const Metric& metric : Metrics()) {
    if (!std::holds_alternative<BpfField>(metric.fields[0])) continue;
    if (!(*meter)->Verdict(metric.column).ok()) continue;
    for (const Entity& entity : (*meter)->entities()[static_cast<size_t>(metric.table)]) {
      const bool has_value = metric.kind == Kind::kHistogram
                                 ? (*meter)->Observed(metric.column, entity.name).has_value()
                                 : (*meter)->Count(metric.column, entity.name).has_value();
      // In v2 a group without an I/O controller has no I/O of its own.
      const auto& field = std::get<BpfField>(metric.fields[0]);
      const bool io = metric.table == Table::kCgroup && absl::string_view(field.object) == "block";
      EXPECT_EQ(has_value, !io || HasIo(*tree, entity.name))
          << metric.column << " of " << entity.name;
    }
  }
}

TEST(BpfSource, WorksWithTwoCapabilitiesOnly) {
  EXPECT_EQ(
      InChild([] {
        if (!DropPrivileges()) return 2;
        absl::StatusOr<std::unique_ptr<BpfMeter>> meter = BpfMeter::Create();
        if (!meter.ok()) return 3;
        if (!AllMetricsWork(meter->get())) return 4;
        (*meter)->Read();
        usleep(50'000);
        (*meter)->Read();
        // The tasks that make this test are in "/" or in a group that is tracked.
        std::int64_t time = 0;
        for (const Entity& entity : (*meter)->entities()[static_cast<size_t>(Table::kCgroup)]) {
          time += (*meter)->Count("cgroup_cpu_time_ns", entity.name).value_or(0);
        }
        return time > 0 ? 0 : 5;
      }),
      0);
}

TEST(BpfSource, WithoutCapabilitiesEachMetricIsForbiddenNotMissing) {
  EXPECT_EQ(InChild([] {
              if (!DropPrivileges()) return 2;
              __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
              __user_cap_data_struct none[2] = {};
              if (syscall(SYS_capset, &header, none) != 0) return 3;
              absl::StatusOr<std::unique_ptr<BpfMeter>> meter = BpfMeter::Create();
              if (!meter.ok()) return 4;
              (*meter)->Read();
              return absl::IsPermissionDenied((*meter)->Verdict("cgroup_cpu_time_ns")) ? 0 : 5;
            }),
            0);
}

TEST(BpfSource, NewGroupGetsARowOfItsOwnThatBeginsAtZero) {
  absl::StatusOr<std::unique_ptr<BpfMeter>> created = BpfMeter::Create("sched");
  ASSERT_TRUE(created.ok()) << created.status();
  BpfMeter& meter = **created;
  std::string first;
  int slot = -1;
  const auto slot_of = [&](const std::string& path) {
    for (const Entity& entity : meter.entities()[static_cast<size_t>(Table::kCgroup)]) {
      if (entity.name == path) return entity.slot;
    }
    return -1;
  };
  const auto burn = [] {
    for (int i = 0; i < 50'000'000; ++i) asm volatile("");
    return 0;
  };
  // A process is reaped before its CPU switches away from it, which is when its last stretch
  // counts.
  const auto used = [&meter](const std::string& path) {
    std::int64_t ns = 0;
    for (int i = 0; i < 100 && ns < 1'000'000; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(i));
      meter.Read();
      ns += meter.Count("cgroup_cpu_time_ns", path).value_or(0);
    }
    return ns;
  };
  {
    std::unique_ptr<TestCgroup> group = *TestCgroup::Create("first");
    first = group->path();
    meter.Read();
    EXPECT_EQ(group->Run(burn), 0);
    EXPECT_GT(used(first), 1'000'000);
    slot = slot_of(first);
    EXPECT_GT(slot, 0);
  }
  // The tick that finds it gone, and the one that takes its slot back.
  meter.Read();
  meter.Read();
  EXPECT_EQ(slot_of(first), -1);
  std::unique_ptr<TestCgroup> group = *TestCgroup::Create("second");
  meter.Read();
  meter.Read();
  EXPECT_EQ(slot_of(group->path()), slot);
  EXPECT_EQ(meter.Count("cgroup_cpu_time_ns", group->path()).value_or(-1), 0);
  EXPECT_EQ(group->Run(burn), 0);
  EXPECT_GT(used(group->path()), 1'000'000);
}

TEST(BpfSource, ProgramsAndMapsAreListedWithTheirCost) {
  absl::StatusOr<std::unique_ptr<BpfMeter>> created = BpfMeter::Create("sched");
  ASSERT_TRUE(created.ok()) << created.status();
  BpfMeter& meter = **created;
  const int stats = bpf_enable_stats(BPF_STATS_RUN_TIME);
  meter.Read();
  usleep(20'000);
  meter.Read();
  EXPECT_TRUE(meter.Count("bpf_program_missed_count", "prog:sched_switch").has_value());
  EXPECT_FALSE(meter.Count("bpf_program_missed_count", "map:cgroup_slots").has_value());
  EXPECT_TRUE(meter.Count("bpf_map_entries_count", "map:cgroup_slots").has_value());
  std::ifstream in("/proc/sys/kernel/bpf_stats_enabled");
  int enabled = 0;
  in >> enabled;
  // Null, not 0, unless the administrator wants the cost counted.
  EXPECT_EQ(meter.Count("bpf_program_run_time_ns", "prog:sched_switch").has_value(), enabled != 0);
  if (stats >= 0) close(stats);
}

// The loader on its own, so that subjects can be bent.
class LoaderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    tree_ = *CgroupTree::Read();
    absl::StatusOr<KernelTypes> types = KernelTypes::Open();
    ASSERT_TRUE(types.ok()) << types.status();
    types_ = std::make_unique<KernelTypes>(*std::move(types));
    slots_ = bpf_map_create(BPF_MAP_TYPE_HASH, "cgroup_slots", sizeof(cgroup_key), sizeof(__u32),
                            16, nullptr);
    epoch_ =
        bpf_map_create(BPF_MAP_TYPE_ARRAY, "slots_epoch", sizeof(__u32), sizeof(__u32), 1, nullptr);
    ASSERT_GE(slots_, 0);
    ASSERT_GE(epoch_, 0);
    host_ = {types_.get(), &tree_, 4, slots_, epoch_};
  }
  void TearDown() override {
    close(slots_);
    close(epoch_);
  }

  BpfSubject Subject(absl::string_view name, bool wakeup_stamps = false) {
    for (BpfSubject& subject : subjects_ = BpfSubjects(wakeup_stamps)) {
      if (name == subject.name) return subject;
    }
    ADD_FAILURE() << name;
    return {};
  }

  // Samples of slot 0 of a per-CPU map of histograms: of the first one.
  static histogram Other(const LoadedSubject& loaded, const char* name) {
    const bpf_map* const map = *loaded.object->Map(name);
    const size_t each = bpf_map__value_size(map) / sizeof(histogram);
    const auto cpus = static_cast<size_t>(libbpf_num_possible_cpus());
    std::vector<histogram> parts(cpus * each);
    const __u32 zero = 0;
    EXPECT_EQ(bpf_map_lookup_elem(bpf_map__fd(map), &zero, parts.data()), 0);
    histogram sum{};
    for (size_t cpu = 0; cpu < cpus; ++cpu) {
      sum.count += parts[cpu * each].count;
      sum.sum += parts[cpu * each].sum;
    }
    return sum;
  }

  CgroupTree tree_ = *CgroupTree::Read();
  std::unique_ptr<KernelTypes> types_;
  int slots_ = -1;
  int epoch_ = -1;
  BpfHost host_;
  std::vector<BpfSubject> subjects_;
};

TEST_F(LoaderTest, WakeupStampsMeasureTheWaitWhereSchedInfoIsNotKept) {
  const BpfSubject subject = Subject("sched", true);
  LoadedSubject loaded = LoadSubject(subject, {"runq_wait"}, host_);
  ASSERT_NE(loaded.object, nullptr);
  EXPECT_TRUE(loaded.missing.empty()) << loaded.missing.begin()->second;
  ASSERT_NE(loaded.Find("sched_wakeup"), nullptr);
  for (int i = 0; i < 100; ++i) usleep(500);
  const histogram wait = Other(loaded, "runq_wait");
  EXPECT_GE(wait.count, 90U);
  // At most 10 ms each on average.
  EXPECT_LT(wait.sum, wait.count * 10'000'000U);
}

TEST_F(LoaderTest, RawTwinTakesOver) {
  BpfSubject subject = Subject("sched");
  subject.before_read = {"charge_running_raw"};
  for (BpfNeeds& needs : subject.needs) {
    // As if the kernel had refused all typed programs.
    for (const char*& program : needs.programs) {
      if (absl::string_view(program) == "sched_switch" && needs.setting == nullptr) {
        program = "sched_switch_raw";
      }
    }
  }
  LoadedSubject loaded = LoadSubject(subject, {"cpu_time", "runq_wait", "offcpu"}, host_);
  ASSERT_NE(loaded.object, nullptr);
  EXPECT_NE(loaded.Find("sched_switch_raw"), nullptr);
  EXPECT_EQ(loaded.Find("sched_switch"), nullptr);
  for (int i = 0; i < 100; ++i) usleep(500);
  EXPECT_GE(Other(loaded, "runq_wait").count, 90U);
  const histogram sleep = Other(loaded, "offcpu");
  EXPECT_GE(sleep.count, 90U);
  EXPECT_GE(sleep.sum, 90U * 500'000U);
  ASSERT_NE(loaded.Find("charge_running_raw"), nullptr);
  bpf_test_run_opts options{};
  options.sz = sizeof(options);
  EXPECT_EQ(bpf_prog_test_run_opts(loaded.Find("charge_running_raw")->fd, &options), 0);
}

TEST_F(LoaderTest, OneImpossibleProgramCostsOnlyItsMap) {
  BpfSubject subject = Subject("memory");
  subject.needs[1].programs = {"memcg_begin", "no_such_program"};
  // A program that is not there is never loaded, so its map is filled by nobody: said, not hidden.
  LoadedSubject loaded = LoadSubject(subject, {"direct_reclaim", "memcg_reclaim"}, host_);
  ASSERT_NE(loaded.object, nullptr);
  EXPECT_TRUE(loaded.missing.contains("memcg_reclaim"));
  EXPECT_FALSE(loaded.missing.contains("direct_reclaim"));
  EXPECT_NE(loaded.Find("direct_end"), nullptr);
}

TEST_F(LoaderTest, EveryTwinLoadsAndAttaches) {
  for (BpfSubject& subject : BpfSubjects(false)) {
    std::vector<std::string> maps;
    std::vector<std::string> names;
    for (BpfNeeds& needs : subject.needs) {
      if (needs.setting != nullptr) continue;
      bool twins = true;
      std::vector<std::string> raw;
      for (const char* program : needs.programs) raw.push_back(absl::StrCat(program, "_raw"));
      // Iterators have none.
      twins = raw.front() != "tasks_visit_raw";
      if (!twins) continue;
      maps.emplace_back(needs.map);
      names.insert(names.end(), raw.begin(), raw.end());
    }
    if (maps.empty()) continue;
    BpfSubject bent = subject;
    size_t next = 0;
    for (BpfNeeds& needs : bent.needs) {
      if (needs.setting != nullptr || next >= names.size()) continue;
      for (const char*& program : needs.programs) program = names[next++].c_str();
    }
    LoadedSubject loaded = LoadSubject(bent, maps, host_);
    ASSERT_NE(loaded.object, nullptr) << subject.name;
    for (const std::string& name : names) EXPECT_NE(loaded.Find(name), nullptr) << name;
    for (const auto& [map, status] : loaded.missing) ADD_FAILURE() << map << ": " << status;
  }
}

}  // namespace
}  // namespace faultline
