// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics/bpf_loader.h"

#include <bpf/bpf.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status.h"
#include "bpf/metric.h"

namespace faultline {
namespace {

// A choice of programs, and of the optional maps that they shall fill.
struct Plan {
  std::set<std::string> programs;
  std::set<std::string> optional;
};

bool HasOwnTracepoint(absl::string_view section) { return absl::StrContains(section, "/"); }

std::string TracepointOf(absl::string_view section) {
  const size_t slash = section.find('/');
  const absl::string_view type = section.substr(0, slash);
  if (type != "tp_btf" && type != "raw_tp") return "";
  return slash == absl::string_view::npos ? "" : std::string(section.substr(slash + 1));
}

class Loader {
 public:
  Loader(const BpfSubject& subject, const std::vector<std::string>& maps, const BpfHost& host)
      : subject_(subject), host_(host), wanted_(maps.begin(), maps.end()) {}

  LoadedSubject Load();

 private:
  absl::Status FindPrograms();
  absl::Status FindStorage(const bpf_object* object);
  absl::Status StorageVerdict(bpf_map_type type) const;
  Plan MakePlan();
  absl::StatusOr<std::string> Choose(const std::string& program, bool twin_will_do) const;
  bool BlameProgram(const Plan& plan, const std::string& program);
  absl::StatusOr<LoadedSubject> Try(const Plan& plan) const;
  absl::Status Fit(BpfObject* object, const Plan& plan) const;
  absl::Status SetFacts(BpfObject* object) const;
  BpfNeeds NeedsOf(const std::string& map) const;
  void Miss(const std::string& map, const absl::Status& reason);
  std::string HookOf(const std::string& map) const;

  const BpfSubject& subject_;
  const BpfHost& host_;
  std::set<std::string> wanted_;
  // Every program of the object, by name: its section.
  absl::btree_map<std::string, std::string> sections_;
  absl::btree_map<std::string, absl::Status> failed_;
  absl::btree_map<std::string, absl::Status> missing_;
};

void Loader::Miss(const std::string& map, const absl::Status& reason) {
  missing_[map] = reason;
  wanted_.erase(map);
}

// Old kernels refuse these with "invalid" or "forbidden", which would mislead.
absl::Status Loader::StorageVerdict(bpf_map_type type) const {
  if (type == BPF_MAP_TYPE_TASK_STORAGE &&
      host_.types->EnumValue("bpf_map_type", "BPF_MAP_TYPE_TASK_STORAGE") < 0) {
    return absl::UnimplementedError("this kernel has no task storage (Linux 5.11)");
  }
  if (type == BPF_MAP_TYPE_SK_STORAGE &&
      !host_.types->HasFunction("bpf_sk_storage_tracing_allowed")) {
    return absl::UnimplementedError(
        "this kernel has no socket storage for tracing programs (Linux 5.11)");
  }
  return absl::OkStatus();
}

// Rules out the optional maps whose storage this kernel has not; an error if the object cannot be
// without one that it has not.
absl::Status Loader::FindStorage(const bpf_object* object) {
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object) {
    absl::Status verdict = StorageVerdict(bpf_map__type(map));
    if (verdict.ok()) continue;
    bool optional = false;
    for (const BpfNeeds& needs : subject_.needs) {
      if (needs.storage == nullptr || absl::string_view(needs.storage) != bpf_map__name(map)) {
        continue;
      }
      optional = true;
      if (wanted_.contains(needs.map)) Miss(needs.map, verdict);
    }
    if (!optional) return verdict;
  }
  return absl::OkStatus();
}

// Lists the programs and rules out those whose tracepoint this kernel has not.
absl::Status Loader::FindPrograms() {
  absl::StatusOr<std::unique_ptr<BpfObject>> object =
      BpfObject::Open(subject_.name, subject_.elf());
  if (!object.ok()) return object.status();
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, (*object)->get()) {
    const std::string name = bpf_program__name(program);
    sections_[name] = bpf_program__section_name(program);
    const std::string tracepoint = TracepointOf(sections_[name]);
    if (!tracepoint.empty() && !host_.types->HasTracepoint(tracepoint)) {
      failed_[name] =
          absl::UnimplementedError(absl::StrCat("this kernel has no tracepoint ", tracepoint));
    }
  }
  return FindStorage((*object)->get());
}

BpfNeeds Loader::NeedsOf(const std::string& map) const {
  for (const BpfNeeds& needs : subject_.needs) {
    if (map == needs.map) return needs;
  }
  BpfNeeds all = {map.c_str(), {}};
  for (const auto& entry : sections_) {
    if (HasOwnTracepoint(entry.second) && !absl::EndsWith(entry.first, "_raw")) {
      all.programs.push_back(entry.first.c_str());
    }
  }
  return all;
}

absl::StatusOr<std::string> Loader::Choose(const std::string& program, bool twin_will_do) const {
  const auto failed = failed_.find(program);
  if (failed == failed_.end() && sections_.contains(program)) return program;
  const std::string twin = program + "_raw";
  if (twin_will_do && sections_.contains(twin) && !failed_.contains(twin)) return twin;
  if (failed != failed_.end()) return failed->second;
  return absl::UnimplementedError(
      absl::StrCat("BPF object ", subject_.name, " has no program ", program));
}

// What the maps that are still wanted need; a map whose need cannot be met is missing from here on.
Plan Loader::MakePlan() {
  Plan plan;
  for (const std::string& map : std::vector<std::string>(wanted_.begin(), wanted_.end())) {
    const BpfNeeds needs = NeedsOf(map);
    std::vector<std::string> chosen;
    for (const char* program : needs.programs) {
      absl::StatusOr<std::string> choice = Choose(program, needs.setting == nullptr);
      if (!choice.ok()) {
        Miss(map, choice.status());
        break;
      }
      chosen.push_back(*std::move(choice));
    }
    if (!wanted_.contains(map)) continue;
    plan.programs.insert(chosen.begin(), chosen.end());
    if (needs.setting != nullptr) plan.optional.insert(map);
  }
  if (plan.programs.empty()) return plan;
  for (const char* program : subject_.before_read) {
    absl::StatusOr<std::string> choice = Choose(program, true);
    if (choice.ok()) plan.programs.insert(*std::move(choice));
  }
  return plan;
}

absl::Status Loader::SetFacts(BpfObject* object) const {
  const CgroupTree::Hierarchy* hierarchy = subject_.controller[0] == '\0'
                                               ? host_.cgroups->V2()
                                               : host_.cgroups->For(subject_.controller);
  const __u32 id = hierarchy == nullptr ? 0 : hierarchy->id;
  int subsys = -1;
  if (hierarchy != nullptr && !hierarchy->v2) {
    subsys =
        host_.types->EnumValue("cgroup_subsys_id", absl::StrCat(subject_.controller, "_cgrp_id"));
    if (subsys < 0) return absl::UnimplementedError("this kernel has no such controller");
  }
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  const __u64 began =
      static_cast<__u64>(now.tv_sec) * 1'000'000'000 + static_cast<__u64>(now.tv_nsec);
  const bool issue_has_queue = host_.types->TracepointArguments("block_rq_issue") == 2;
  const bool victim_is_pid = !host_.types->FirstArgumentIsPointer("mark_victim");
  for (const absl::Status& status :
       {object->SetGlobal("hierarchy", id), object->SetGlobal("subsys", subsys),
        object->SetGlobal("began", began), object->SetGlobal("issue_has_queue", issue_has_queue),
        object->SetGlobal("victim_is_pid", victim_is_pid)}) {
    // An object has the settings that it cares for.
    if (!status.ok() && !absl::IsNotFound(status)) return status;
  }
  return absl::OkStatus();
}

// Sizes, shared maps, settings, and what is switched on.
absl::Status Loader::Fit(BpfObject* object, const Plan& plan) const {
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, object->get()) {
    const absl::string_view name = bpf_map__name(map);
    int result = 0;
    if (name == "cgroup_slots") {
      result = bpf_map__reuse_fd(map, host_.cgroup_slots_fd);
    } else if (name == "slots_epoch") {
      result = bpf_map__reuse_fd(map, host_.slots_epoch_fd);
    } else if (bpf_map__max_entries(map) == CGROUP_SLOTS) {
      result = bpf_map__set_max_entries(map, static_cast<__u32>(host_.cgroup_slots));
    }
    if (result < 0) return BpfStatus(result, absl::StrCat("prepare BPF map ", name));
  }
  std::set<std::string> storages;
  for (const BpfNeeds& needs : subject_.needs) {
    if (needs.setting == nullptr) continue;
    const bool on = plan.optional.contains(needs.map);
    if (absl::Status status = object->SetGlobal(needs.setting, on); !status.ok()) return status;
    if (on && needs.storage != nullptr) storages.insert(needs.storage);
  }
  for (const BpfNeeds& needs : subject_.needs) {
    if (needs.setting == nullptr) continue;
    absl::StatusOr<bpf_map*> own = object->Map(needs.map);
    if (!own.ok()) return own.status();
    (void)bpf_map__set_autocreate(*own, plan.optional.contains(needs.map));
    if (needs.storage == nullptr) continue;
    absl::StatusOr<bpf_map*> storage = object->Map(needs.storage);
    if (!storage.ok()) return storage.status();
    (void)bpf_map__set_autocreate(*storage, storages.contains(needs.storage));
  }
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, object->get()) {
    bpf_program__set_autoload(program, plan.programs.contains(bpf_program__name(program)));
  }
  return SetFacts(object);
}

absl::StatusOr<LoadedSubject> Loader::Try(const Plan& plan) const {
  LoadedSubject loaded;
  absl::StatusOr<std::unique_ptr<BpfObject>> object =
      BpfObject::Open(subject_.name, subject_.elf());
  if (!object.ok()) return object.status();
  loaded.object = *std::move(object);
  if (absl::Status status = Fit(loaded.object.get(), plan); !status.ok()) return status;
  if (absl::Status status = loaded.object->Load(); !status.ok()) return status;
  for (const std::string& name : plan.programs) {
    absl::StatusOr<bpf_program*> program = loaded.object->Program(name);
    if (!program.ok()) return program.status();
    LoadedSubject::Program entry{name, bpf_program__fd(*program), -1};
    if (absl::StartsWith(bpf_program__section_name(*program), "iter/")) {
      bpf_link* link = bpf_program__attach_iter(*program, nullptr);
      if (link == nullptr) return ErrnoStatus(errno, absl::StrCat("attach iterator ", name));
      entry.iterator = bpf_link__fd(link);
      loaded.object->Adopt(link);
    } else if (HasOwnTracepoint(bpf_program__section_name(*program))) {
      if (absl::Status status = loaded.object->Attach(*program); !status.ok()) return status;
    }
    loaded.programs.push_back(std::move(entry));
  }
  return loaded;
}

// Tries `program` alone; true if something was learnt from it.
bool Loader::BlameProgram(const Plan& plan, const std::string& program) {
  Plan alone{{program}, plan.optional};
  const absl::Status status = Try(alone).status();
  if (status.ok()) return false;
  if (!plan.optional.empty()) {
    alone.optional.clear();
    if (Try(alone).ok()) {
      for (const std::string& map : plan.optional) Miss(map, status);
      return true;
    }
  }
  failed_[program] = status;
  return true;
}

std::string Loader::HookOf(const std::string& map) const {
  const BpfNeeds needs = NeedsOf(map);
  std::vector<std::string> hooks;
  for (const char* program : needs.programs) {
    const absl::StatusOr<std::string> choice = Choose(program, needs.setting == nullptr);
    if (choice.ok()) hooks.push_back(sections_.at(*choice));
  }
  return absl::StrJoin(hooks, ", ");
}

LoadedSubject Loader::Load() {
  LoadedSubject result;
  absl::Status status = FindPrograms();
  while (status.ok()) {
    const Plan plan = MakePlan();
    if (plan.programs.empty()) break;
    absl::StatusOr<LoadedSubject> loaded = Try(plan);
    if (loaded.ok()) {
      result = *std::move(loaded);
      break;
    }
    bool learnt = false;
    for (const std::string& program : plan.programs) learnt |= BlameProgram(plan, program);
    // Each alone, but not all together.
    if (!learnt) status = loaded.status();
  }
  if (!status.ok()) {
    for (const std::string& map : std::vector<std::string>(wanted_.begin(), wanted_.end())) {
      Miss(map, status);
    }
  }
  result.name = subject_.name;
  for (const std::string& map : wanted_) result.hooks[map] = HookOf(map);
  result.missing = std::move(missing_);
  return result;
}

}  // namespace

const LoadedSubject::Program* LoadedSubject::Find(absl::string_view program) const {
  for (const Program& candidate : programs) {
    if (candidate.name == program) return &candidate;
  }
  return nullptr;
}

LoadedSubject LoadSubject(const BpfSubject& subject, const std::vector<std::string>& maps,
                          const BpfHost& host) {
  return Loader(subject, maps, host).Load();
}

absl::Status RunIterator(int link_fd) {
  const int fd = bpf_iter_create(link_fd);
  if (fd < 0) return BpfStatus(fd, "start BPF iterator");
  char nothing[64];
  ssize_t size = 0;
  do {
    size = read(fd, nothing, sizeof(nothing));
  } while (size > 0 || (size < 0 && (errno == EINTR || errno == EAGAIN)));
  const int error = size < 0 ? errno : 0;
  close(fd);
  return ErrnoStatus(error, "run BPF iterator");
}

}  // namespace faultline
