// SPDX-License-Identifier: Apache-2.0
#include <bpf/bpf.h>
#include <sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "agent/metrics/bpf_loader.h"
#include "base/bpf_object.h"
#include "base/cgroup_tree.h"
#include "base/status.h"
#include "bpf/attach_check.skel.h"
#include "cli/doctor/trials.h"
#include "injector/host/kernel_programs.h"

namespace faultline::cli::doctor {
namespace {

constexpr absl::string_view kGroupPrefix = "faultline-doctor-";

// An empty group of the v2 hierarchy, for as long as a trial takes.
class TrialGroup {
 public:
  static absl::StatusOr<std::unique_ptr<TrialGroup>> Create() {
    absl::StatusOr<CgroupTree> tree = CgroupTree::Read();
    if (!tree.ok()) return tree.status();
    if (tree->V2() == nullptr) {
      return absl::UnimplementedError("no cgroup v2 hierarchy is mounted on this host");
    }
    RemoveLeftovers(tree->V2()->mount);
    const std::string name = absl::StrCat("/", kGroupPrefix, ::getpid());
    const std::string dir = CgroupTree::Directory(*tree->V2(), name);
    if (::mkdir(dir.c_str(), 0755) != 0 && errno != EEXIST) {
      return ErrnoStatus(errno, absl::StrCat("make control group ", dir));
    }
    return std::unique_ptr<TrialGroup>(new TrialGroup(name, dir));
  }
  ~TrialGroup() { ::rmdir(dir_.c_str()); }
  TrialGroup(const TrialGroup&) = delete;
  TrialGroup& operator=(const TrialGroup&) = delete;

  const std::string& path() const { return path_; }

 private:
  TrialGroup(std::string path, std::string dir) : path_(std::move(path)), dir_(std::move(dir)) {}

  // Of doctors that were killed in the midst of a trial.
  static void RemoveLeftovers(const std::string& mount) {
    std::error_code error;
    for (std::filesystem::directory_iterator entry(mount, error), end; !error && entry != end;
         entry.increment(error)) {
      const std::string name = entry->path().filename();
      absl::string_view number = name;
      pid_t pid = 0;
      if (!absl::ConsumePrefix(&number, kGroupPrefix) || !absl::SimpleAtoi(number, &pid)) continue;
      // rmdir leaves alone what is in use.
      if (pid > 0 && ::kill(pid, 0) != 0 && errno == ESRCH) ::rmdir(entry->path().c_str());
    }
  }

  const std::string path_;
  const std::string dir_;
};

// Storages only where the program uses them: old kernels have none.
absl::StatusOr<std::unique_ptr<BpfObject>> Load(const std::string& name) {
  absl::StatusOr<std::unique_ptr<BpfObject>> object =
      BpfObject::Open("attach_check", SkeletonBytes<attach_check_bpf>());
  if (!object.ok()) return object;
  if (absl::Status only = (*object)->LoadOnly(name); !only.ok()) return only;
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, (*object)->get()) {
    const bpf_map_type type = bpf_map__type(map);
    const bool unused = (type == BPF_MAP_TYPE_TASK_STORAGE && name != "task_storage") ||
                        (type == BPF_MAP_TYPE_SK_STORAGE && name != "sk_storage");
    if (unused) (void)bpf_map__set_autocreate(map, false);
  }
  if (absl::Status status = (*object)->Load(); !status.ok()) return status;
  return object;
}

// Before 5.11 the kernel says of a storage that it is invalid, and the verifier names a function.
absl::Status OfLoad(const std::string& name, const absl::Status& status) {
  if (!absl::EndsWith(name, "_storage") || !absl::IsInvalidArgument(status)) return status;
  return absl::UnimplementedError(absl::StrCat("this kernel has no ", name, " for such programs"));
}

absl::StatusOr<std::uint64_t> Runs(const BpfObject& object) {
  absl::StatusOr<bpf_map*> map = object.Map("check_runs");
  if (!map.ok()) return map.status();
  const std::uint32_t key = 0;
  std::uint64_t runs = 0;
  const int result = bpf_map_lookup_elem(bpf_map__fd(*map), &key, &runs);
  if (result != 0) return BpfStatus(result, "read a BPF map");
  return runs;
}

absl::Status AwaitRun(const BpfObject& object) {
  // Each sleep is a switch; a link may take effect a moment after the call.
  constexpr int kSleeps = 200;
  for (int i = 0; i < kSleeps; ++i) {
    absl::StatusOr<std::uint64_t> runs = Runs(object);
    if (!runs.ok()) return runs.status();
    if (*runs > 0) return absl::OkStatus();
    absl::SleepFor(absl::Milliseconds(1));
  }
  return absl::InternalError("it is attached, and in 200 ms it never ran");
}

absl::Status TestRun(const BpfObject& object, const bpf_program* program) {
  bpf_test_run_opts options{};
  options.sz = sizeof(options);
  options.flags = BPF_F_TEST_RUN_ON_CPU;
  options.cpu = static_cast<__u32>(::sched_getcpu());
  const int result = bpf_prog_test_run_opts(bpf_program__fd(program), &options);
  if (result < 0) return BpfStatus(result, "run a BPF program at will");
  return AwaitRun(object);
}

absl::Status Iterate(BpfObject* object, const bpf_program* program) {
  bpf_link* link = bpf_program__attach_iter(program, nullptr);
  if (link == nullptr) return ErrnoStatus(errno, "attach a task iterator");
  object->Adopt(link);
  if (absl::Status status = RunIterator(bpf_link__fd(link)); !status.ok()) return status;
  return AwaitRun(*object);
}

bool Has(const std::vector<std::uint32_t>& ids, std::uint32_t id) {
  return std::find(ids.begin(), ids.end(), id) != ids.end();
}

// As the injector does it: what is attached is read back, and so is that it is gone.
absl::Status OnGroup(Hook::Kind kind, const std::string& name, std::unique_ptr<BpfObject> object) {
  const absl::StatusOr<std::unique_ptr<TrialGroup>> group = TrialGroup::Create();
  if (!group.ok()) return group.status();
  const ProgramSpec spec{name, {}, {}, {kind, (*group)->path(), "doctor", ""}, ""};
  const absl::StatusOr<std::unique_ptr<Program>> program = TakeProgram(spec, std::move(object));
  if (!program.ok()) return program.status();
  if (absl::Status status = (*program)->Attach(); !status.ok()) return status;
  KernelPrograms programs;
  const absl::StatusOr<std::vector<std::uint32_t>> on = programs.Attached(spec.hook);
  (*program)->Detach();
  if (!on.ok()) return on.status();
  if (!Has(*on, (*program)->id())) {
    return absl::AbortedError("the kernel took the program and does not show it on its hook");
  }
  const absl::StatusOr<std::vector<std::uint32_t>> after = programs.Attached(spec.hook);
  if (!after.ok()) return after.status();
  if (!Has(*after, (*program)->id())) return absl::OkStatus();
  return absl::InternalError("the program is still on its hook");
}

}  // namespace

absl::Status TryBpf(const std::string& name) {
  if (name == "tcx") return TryTcx();
  absl::StatusOr<std::unique_ptr<BpfObject>> object = Load(name);
  if (!object.ok()) return OfLoad(name, object.status());
  absl::StatusOr<bpf_program*> program = (*object)->Program(name);
  if (!program.ok()) return program.status();
  const absl::string_view section = bpf_program__section_name(*program);
  if (section == "cgroup_skb/ingress") {
    return OnGroup(Hook::Kind::kCgroupIngress, name, *std::move(object));
  }
  if (section == "cgroup_skb/egress") {
    return OnGroup(Hook::Kind::kCgroupEgress, name, *std::move(object));
  }
  if (absl::StartsWith(section, "iter/")) return Iterate(object->get(), *program);
  if (section == "raw_tp") return TestRun(**object, *program);
  absl::Status attached = (*object)->Attach(*program);
  if (!attached.ok() || !absl::EndsWith(section, "/sched_switch")) return attached;
  return AwaitRun(**object);
}

}  // namespace faultline::cli::doctor
