// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics/bpf_source.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <optional>
#include <utility>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "agent/metrics/bpf_cost.h"
#include "agent/metrics/bpf_loader.h"
#include "agent/metrics/bpf_rows.h"
#include "agent/metrics/bpf_subjects.h"
#include "agent/metrics/io_groups.h"
#include "agent/metrics/kernel_types.h"
#include "base/log.h"
#include "base/status.h"

namespace faultline {
namespace {

// The third number is how often the task got a CPU: 0 for us would mean that nobody counts.
bool SchedInfoIsKept(const KernelTypes& types) {
  std::ifstream in("/proc/self/schedstat");
  std::uint64_t run = 0;
  std::uint64_t wait = 0;
  std::uint64_t times = 0;
  return types.HasField("sched_info", "last_queued") && in >> run >> wait >> times && times > 0;
}

// An open descriptor of a map that all objects share.
class SharedMap {
 public:
  SharedMap() = default;
  ~SharedMap() {
    if (fd_ >= 0) close(fd_);
  }
  SharedMap(const SharedMap&) = delete;
  SharedMap& operator=(const SharedMap&) = delete;

  absl::Status Create(bpf_map_type type, const char* name, std::uint32_t key, std::uint32_t value,
                      std::uint32_t entries) {
    fd_ = bpf_map_create(type, name, key, value, entries, nullptr);
    return BpfStatus(fd_, absl::StrCat("create BPF map ", name));
  }
  int fd() const { return fd_; }

 private:
  int fd_ = -1;
};

struct Use {
  size_t metric;
  BpfField field;
};

class BpfSource final : public Source {
 public:
  BpfSource(const CgroupIndex& cgroups, Entities entities)
      : cgroups_(cgroups), at_start_(std::move(entities)), io_groups_(cgroups.tree()) {}

  absl::Status Add(size_t index, const Field& field) override;
  std::vector<std::pair<size_t, absl::Status>> Start() override;
  std::vector<std::string> EntityNames(Table table) const override {
    return table == Table::kBpf ? cost_.Names() : std::vector<std::string>();
  }
  void Read(const Entities& entities, std::vector<Column>* columns) override;
  std::string Hook(const Field& field) const override;

 private:
  using Failures = std::vector<std::pair<size_t, absl::Status>>;

  absl::Status CreateShared();
  void StartSubject(const BpfSubject& subject, const BpfHost& host, Failures* failures);
  void UseMaps(const LoadedSubject& loaded, const std::vector<Use>& uses, Failures* failures);
  void ListCost(const LoadedSubject& loaded);
  void WriteKeys(const std::vector<SlotKey>& keys) const;
  void NextEpoch();
  void ApplyCgroups();
  void ApplyDisks(const std::vector<Entity>& disks);
  void RunBeforeRead();
  void ChargeRunning(int program_fd) const;
  void DropForeignIo(const std::vector<Entity>& groups, std::vector<Column>* columns);
  void Complain(const absl::Status& status);

  const CgroupIndex& cgroups_;
  const Entities at_start_;
  IoGroups io_groups_;
  // By object name.
  absl::btree_map<std::string, std::vector<Use>> uses_;
  std::vector<std::pair<size_t, BpfCostField>> cost_uses_;
  SharedMap cgroup_slots_;
  SharedMap slots_epoch_;
  std::uint32_t epoch_ = 0;
  std::vector<LoadedSubject> subjects_;
  // Run before each reading: on each CPU, and over all tasks.
  std::vector<int> per_cpu_programs_;
  std::vector<int> iterators_;
  // Every map with metrics, of every object.
  std::vector<std::unique_ptr<BpfRows>> rows_;
  int disk_slots_fd_ = -1;
  // What disk_slots holds: slot by device.
  absl::btree_map<std::uint32_t, std::uint32_t> disks_;
  BpfCost cost_;
  // Said once.
  absl::btree_set<std::string> complaints_;
};

absl::Status BpfSource::Add(size_t index, const Field& field) {
  if (const auto* cost = std::get_if<BpfCostField>(&field)) {
    if (absl::Status status = BpfCost::CanRead(*cost); !status.ok()) return status;
    cost_uses_.emplace_back(index, *cost);
    return absl::OkStatus();
  }
  const auto* bpf = std::get_if<BpfField>(&field);
  if (bpf == nullptr) return absl::InvalidArgumentError("not a field of BPF");
  if (access("/sys/kernel/btf/vmlinux", R_OK) != 0) {
    return absl::UnimplementedError("this kernel has no type information (CONFIG_DEBUG_INFO_BTF)");
  }
  for (const BpfSubject& subject : BpfSubjects(false)) {
    if (absl::string_view(bpf->object) != subject.name) continue;
    uses_[bpf->object].push_back({index, *bpf});
    return absl::OkStatus();
  }
  return absl::UnimplementedError(absl::StrCat("there is no BPF object ", bpf->object));
}

std::string BpfSource::Hook(const Field& field) const {
  const auto* bpf = std::get_if<BpfField>(&field);
  if (bpf == nullptr) return "";
  for (const LoadedSubject& subject : subjects_) {
    if (subject.name != bpf->object) continue;
    const auto hook = subject.hooks.find(bpf->map);
    return hook == subject.hooks.end() ? "" : hook->second;
  }
  return "";
}

absl::Status BpfSource::CreateShared() {
  const auto room = static_cast<std::uint32_t>(cgroups_.slots()) *
                    static_cast<std::uint32_t>(cgroups_.tree().hierarchies().size());
  absl::Status status = cgroup_slots_.Create(BPF_MAP_TYPE_HASH, "cgroup_slots", sizeof(cgroup_key),
                                             sizeof(__u32), room);
  if (absl::IsPermissionDenied(status)) {
    return absl::PermissionDeniedError(
        absl::StrCat("BPF needs CAP_BPF and CAP_PERFMON (", status.message(), ")"));
  }
  if (!status.ok()) return status;
  cost_.AddMap("cgroup_slots", {cgroup_slots_.fd(), sizeof(cgroup_key), sizeof(__u32), room});
  return slots_epoch_.Create(BPF_MAP_TYPE_ARRAY, "slots_epoch", sizeof(__u32), sizeof(__u32), 1);
}

std::vector<std::pair<size_t, absl::Status>> BpfSource::Start() {
  Failures failures;
  if (uses_.empty()) return failures;
  absl::StatusOr<KernelTypes> types = KernelTypes::Open();
  absl::Status status = types.ok() ? CreateShared() : types.status();
  if (!status.ok()) {
    for (const auto& entry : uses_) {
      for (const Use& use : entry.second) failures.emplace_back(use.metric, status);
    }
    uses_.clear();
    return failures;
  }
  WriteKeys(cgroups_.keys());
  NextEpoch();
  const BpfHost host{&*types, &cgroups_.tree(), cgroups_.slots(), cgroup_slots_.fd(),
                     slots_epoch_.fd()};
  for (const BpfSubject& subject : BpfSubjects(!SchedInfoIsKept(*types))) {
    if (uses_.contains(subject.name)) StartSubject(subject, host, &failures);
  }
  ApplyDisks(at_start_[static_cast<size_t>(Table::kDisk)]);
  RunBeforeRead();
  // Type information passed through the heap by the 10 MB.
  malloc_trim(0);
  return failures;
}

void BpfSource::StartSubject(const BpfSubject& subject, const BpfHost& host, Failures* failures) {
  const std::vector<Use>& uses = uses_[subject.name];
  std::vector<std::string> maps;
  maps.reserve(uses.size());
  for (const Use& use : uses) maps.emplace_back(use.field.map);
  LoadedSubject loaded = LoadSubject(subject, maps, host);
  UseMaps(loaded, uses, failures);
  ListCost(loaded);
  for (const LoadedSubject::Program& program : loaded.programs) {
    const bool each_time = std::any_of(
        subject.before_read.begin(), subject.before_read.end(), [&program](const char* name) {
          return program.name == name || program.name == absl::StrCat(name, "_raw");
        });
    if (program.iterator >= 0 && each_time) {
      iterators_.push_back(program.iterator);
    } else if (program.iterator >= 0) {
      Complain(RunIterator(program.iterator));
    } else if (each_time) {
      per_cpu_programs_.push_back(program.fd);
    }
  }
  subjects_.push_back(std::move(loaded));
}

void BpfSource::UseMaps(const LoadedSubject& loaded, const std::vector<Use>& uses,
                        Failures* failures) {
  absl::btree_map<std::string, BpfRows*> rows;
  for (const Use& use : uses) {
    const std::string name = use.field.map;
    if (const auto missing = loaded.missing.find(name); missing != loaded.missing.end()) {
      failures->emplace_back(use.metric, missing->second);
      continue;
    }
    absl::StatusOr<bpf_map*> map = loaded.object->Map(name);
    if (!map.ok()) {
      failures->emplace_back(use.metric, map.status());
      continue;
    }
    if (!rows.contains(name)) {
      rows_.push_back(std::make_unique<BpfRows>(*map, Metrics()[use.metric].table));
      rows[name] = rows_.back().get();
    }
    if (absl::Status status = rows[name]->Add(use.metric, use.field.item); !status.ok()) {
      failures->emplace_back(use.metric, status);
    }
  }
}

void BpfSource::ListCost(const LoadedSubject& loaded) {
  if (loaded.object == nullptr) return;
  for (const LoadedSubject::Program& program : loaded.programs) {
    cost_.AddProgram(program.name, program.fd);
  }
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, loaded.object->get()) {
    const std::string name = bpf_map__name(map);
    if (bpf_map__type(map) != BPF_MAP_TYPE_HASH || name == "cgroup_slots") continue;
    cost_.AddMap(name, {bpf_map__fd(map), bpf_map__key_size(map), bpf_map__value_size(map),
                        bpf_map__max_entries(map)});
    if (name == "disk_slots") disk_slots_fd_ = bpf_map__fd(map);
  }
}

void BpfSource::Complain(const absl::Status& status) {
  if (status.ok() || !complaints_.insert(std::string(status.message())).second) return;
  LogWarning(status.message());
}

void BpfSource::WriteKeys(const std::vector<SlotKey>& keys) const {
  for (const SlotKey& entry : keys) {
    const auto slot = static_cast<__u32>(entry.slot);
    // A full map cannot be: it has room for each slot in each hierarchy.
    (void)bpf_map_update_elem(cgroup_slots_.fd(), &entry.key, &slot, BPF_ANY);
  }
}

// Makes programs forget the slots that they remember.
void BpfSource::NextEpoch() {
  const __u32 zero = 0;
  ++epoch_;
  (void)bpf_map_update_elem(slots_epoch_.fd(), &zero, &epoch_, BPF_ANY);
}

void BpfSource::ApplyCgroups() {
  const std::vector<SlotKey>& removed = cgroups_.keys_removed();
  const std::vector<int>& retired = cgroups_.slots_retired();
  const std::vector<SlotKey>& added = cgroups_.keys_added();
  if (removed.empty() && retired.empty() && added.empty()) return;
  for (const SlotKey& entry : removed) {
    // Only if it is still this slot's.
    __u32 slot = 0;
    if (bpf_map_lookup_elem(cgroup_slots_.fd(), &entry.key, &slot) != 0) continue;
    if (slot != static_cast<__u32>(entry.slot)) continue;
    (void)bpf_map_delete_elem(cgroup_slots_.fd(), &entry.key);
  }
  NextEpoch();
  // What runs at this moment is still charged to where it was when it began; after this it is not.
  if (!retired.empty()) RunBeforeRead();
  for (const std::unique_ptr<BpfRows>& rows : rows_) {
    if (rows->table() != Table::kCgroup) continue;
    for (const int slot : retired) Complain(rows->Zero(slot));
  }
  WriteKeys(added);
  NextEpoch();
}

void BpfSource::ApplyDisks(const std::vector<Entity>& disks) {
  if (disk_slots_fd_ < 0) return;
  absl::btree_map<std::uint32_t, std::uint32_t> now;
  for (const Entity& disk : disks) {
    if (disk.slot > 0) now[disk.device] = static_cast<std::uint32_t>(disk.slot);
  }
  if (now == disks_) return;
  for (const auto& [device, slot] : disks_) {
    const auto still = now.find(device);
    if (still == now.end() || still->second != slot) {
      (void)bpf_map_delete_elem(disk_slots_fd_, &device);
    }
  }
  for (const auto& [device, slot] : now) {
    const auto before = disks_.find(device);
    if (before != disks_.end() && before->second == slot) continue;
    for (const std::unique_ptr<BpfRows>& rows : rows_) {
      if (rows->table() == Table::kDisk) Complain(rows->Zero(static_cast<int>(slot)));
    }
    Complain(BpfStatus(bpf_map_update_elem(disk_slots_fd_, &device, &slot, BPF_ANY),
                       "give a disk a row"));
  }
  disks_ = std::move(now);
}

void BpfSource::ChargeRunning(int program_fd) const {
  const int cpus = libbpf_num_possible_cpus();
  for (int cpu = 0; cpu < cpus; ++cpu) {
    bpf_test_run_opts options{};
    options.sz = sizeof(options);
    options.flags = BPF_F_TEST_RUN_ON_CPU;
    options.cpu = static_cast<__u32>(cpu);
    // ENXIO: that CPU is not online.
    (void)bpf_prog_test_run_opts(program_fd, &options);
  }
}

void BpfSource::RunBeforeRead() {
  for (const int program : per_cpu_programs_) ChargeRunning(program);
  for (const int iterator : iterators_) Complain(RunIterator(iterator));
}

// Requests of such a group are counted for a group above it, so its own zeros are no measurement.
void BpfSource::DropForeignIo(const std::vector<Entity>& groups, std::vector<Column>* columns) {
  const auto block = uses_.find("block");
  if (block == uses_.end()) return;
  io_groups_.BeginTick();
  for (size_t row = 0; row < groups.size(); ++row) {
    if (io_groups_.Owns(groups[row])) continue;
    for (const Use& use : block->second) {
      if (Metrics()[use.metric].table != Table::kCgroup) continue;
      Column& column = (*columns)[use.metric];
      if (row < column.values.size()) column.values[row].reset();
      if (row < column.histograms.size()) column.histograms[row].reset();
    }
  }
}

void BpfSource::Read(const Entities& entities, std::vector<Column>* columns) {
  if (!rows_.empty()) {
    ApplyCgroups();
    ApplyDisks(entities[static_cast<size_t>(Table::kDisk)]);
    RunBeforeRead();
  }
  for (const std::unique_ptr<BpfRows>& rows : rows_) {
    Complain(rows->Read(entities[static_cast<size_t>(rows->table())], columns));
  }
  DropForeignIo(entities[static_cast<size_t>(Table::kCgroup)], columns);
  const std::vector<Entity>& costs = entities[static_cast<size_t>(Table::kBpf)];
  for (const auto& [metric, field] : cost_uses_) {
    for (size_t i = 0; i < costs.size(); ++i) {
      (*columns)[metric].values[i] = cost_.Read(costs[i].name, field);
    }
  }
}

}  // namespace

std::unique_ptr<Source> MakeBpfSource(const CgroupIndex& cgroups,
                                      const Entities& entities_at_start) {
  return std::make_unique<BpfSource>(cgroups, entities_at_start);
}

}  // namespace faultline
