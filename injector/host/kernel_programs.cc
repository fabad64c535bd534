// SPDX-License-Identifier: Apache-2.0
#include "injector/host/kernel_programs.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <net/if.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <fstream>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "base/bpf_object.h"
#include "base/cgroup_tree.h"
#include "base/log.h"
#include "base/status.h"
#include "bpf/fault_loss.skel.h"
#include "bpf/fault_steer.skel.h"
#include "injector/host/ledger.h"
#include "injector/host/socket_groups.h"

namespace faultline {
namespace {

bpf_attach_type AttachType(Hook::Kind kind) {
  switch (kind) {
    case Hook::Kind::kCgroupIngress:
      return BPF_CGROUP_INET_INGRESS;
    case Hook::Kind::kCgroupEgress:
      return BPF_CGROUP_INET_EGRESS;
    case Hook::Kind::kTcxEgress:
      return kTcxEgressHook;
  }
  Bug("a hook without attach type");
}

// BPF_PROG_QUERY as kernels from 6.6 on fill it in: they write link ids and revision behind what
// libbpf 1.1 knows.
struct QueryAttributes {
  std::uint32_t target;
  std::uint32_t attach_type;
  std::uint32_t query_flags;
  std::uint32_t attach_flags;
  std::uint64_t program_ids;
  std::uint32_t program_count;
  std::uint32_t pad;
  std::uint64_t program_attach_flags;
  std::uint64_t link_ids;
  std::uint64_t link_attach_flags;
  std::uint64_t revision;
};
static_assert(sizeof(QueryAttributes) == 64);

absl::StatusOr<std::uint32_t> ProgramId(int fd) {
  bpf_prog_info info{};
  std::uint32_t size = sizeof(info);
  const int result = bpf_obj_get_info_by_fd(fd, &info, &size);
  if (result < 0) return BpfStatus(result, "read the id of a BPF program");
  return info.id;
}

// What the kernel calls the hook's object: a descriptor of the control group, to be closed, or the
// index of the device.
struct HookTarget {
  static absl::StatusOr<std::unique_ptr<HookTarget>> Open(const Hook& hook, SocketGroups& groups) {
    auto target = std::make_unique<HookTarget>();
    if (hook.kind == Hook::Kind::kTcxEgress) {
      target->value = static_cast<int>(if_nametoindex(hook.object.c_str()));
      if (target->value != 0) return target;
      return absl::NotFoundError(absl::StrCat("there is no network device ", hook.object));
    }
    absl::StatusOr<int> fd = groups.Open(hook.object);
    if (!fd.ok()) return fd.status();
    target->is_fd = true;
    target->value = *fd;
    return target;
  }
  HookTarget() = default;
  ~HookTarget() {
    if (is_fd) close(value);
  }
  HookTarget(const HookTarget&) = delete;
  HookTarget& operator=(const HookTarget&) = delete;

  bool is_fd = false;
  int value = -1;
};

// The object with one program in the kernel and `filters` in its settings.
template <typename Skeleton>
absl::StatusOr<std::unique_ptr<BpfObject>> Load(const std::string& name, const std::string& program,
                                                const fault_filters& filters) {
  absl::StatusOr<std::unique_ptr<BpfObject>> object =
      BpfObject::Open(name, SkeletonBytes<Skeleton>());
  if (!object.ok()) return object;
  absl::Status status = (*object)->LoadOnly(program);
  if (status.ok()) status = (*object)->SetGlobal("filters", filters);
  if (status.ok()) status = (*object)->Load();
  if (!status.ok()) return status;
  return object;
}

// A packet that crosses into another network namespace has lost its socket and its priority, so
// outbound faults meet only processes of this namespace.
absl::Status CheckNamespaceOf(int cgroup_fd, const std::string& cgroup) {
  struct stat ours {};
  if (stat("/proc/thread-self/ns/net", &ours) != 0) return absl::OkStatus();
  std::ifstream members(absl::StrCat("/proc/self/fd/", cgroup_fd, "/cgroup.procs"));
  bool elsewhere = false;
  for (pid_t pid = 0; members >> pid;) {
    struct stat theirs {};
    if (stat(absl::StrCat("/proc/", pid, "/ns/net").c_str(), &theirs) != 0) continue;
    if (theirs.st_ino == ours.st_ino) return absl::OkStatus();
    elsewhere = true;
  }
  if (!elsewhere) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("every process of ", cgroup,
                   " is in a network namespace of its own, where the injector's "
                   "devices are not; inbound loss works there, outbound faults do not"));
}

// Of the object that has it.
absl::StatusOr<std::unique_ptr<BpfObject>> LoadNamed(const std::string& name,
                                                     const fault_filters& filters) {
  if (name == "steer") return Load<fault_steer_bpf>("fault_steer", name, filters);
  return Load<fault_loss_bpf>("fault_loss", name, filters);
}

absl::StatusOr<std::unique_ptr<BpfObject>> LoadSink() {
  absl::StatusOr<std::unique_ptr<BpfObject>> object =
      BpfObject::Open("fault_steer", SkeletonBytes<fault_steer_bpf>());
  if (!object.ok()) return object;
  absl::Status status = (*object)->LoadOnly("plane_sink");
  if (status.ok()) status = (*object)->Load();
  if (!status.ok()) return status;
  return object;
}

class MapLedger final : public Ledger {
 public:
  explicit MapLedger(int fd) : fd_(fd) {}
  ~MapLedger() override { close(fd_); }
  MapLedger(const MapLedger&) = delete;
  MapLedger& operator=(const MapLedger&) = delete;

  absl::StatusOr<fault_dose> Read() const override { return ReadLedger(fd_); }

 private:
  const int fd_;
};

class LoadedProgram final : public Program {
 public:
  static absl::StatusOr<std::unique_ptr<Program>> Make(const ProgramSpec& spec,
                                                       std::unique_ptr<BpfObject> object,
                                                       std::unique_ptr<HookTarget> target,
                                                       std::shared_ptr<TcxLinks> tcx,
                                                       std::shared_ptr<SparePrograms> spares) {
    absl::StatusOr<bpf_program*> found = object->Program(spec.name);
    if (!found.ok()) return found.status();
    const absl::StatusOr<bpf_map*> dose = object->Map("fault_dose");
    const absl::StatusOr<bpf_map*> until = object->Map("steer_until");
    const int fd = bpf_program__fd(*found);
    const absl::StatusOr<std::uint32_t> id = ProgramId(fd);
    if (!id.ok()) return id.status();
    std::unique_ptr<LoadedProgram> program(new LoadedProgram(spec, *id));
    program->target_ = std::move(target);
    program->object_ = std::move(object);
    program->tcx_ = std::move(tcx);
    program->spares_ = std::move(spares);
    program->program_fd_ = fd;
    program->dose_fd_ = dose.ok() ? bpf_map__fd(*dose) : -1;
    program->until_fd_ = until.ok() ? bpf_map__fd(*until) : -1;
    return program;
  }
  ~LoadedProgram() override {
    Detach();
    if (spares_ == nullptr) return;
    if (used_) {
      // Not before the fault is over, of which that would be a part.
      spares_->Prepare({spec_.name, spec_.filters});
    } else {
      // Only planned, as by a dry run: nobody will see anything of it.
      ForgetGroup();
      spares_->GiveBack({spec_.name, spec_.filters}, std::move(object_));
    }
  }
  LoadedProgram(const LoadedProgram&) = delete;
  LoadedProgram& operator=(const LoadedProgram&) = delete;

  std::uint32_t id() const override { return id_; }

  absl::Status Attach() override {
    if (link_fd_ >= 0) return absl::OkStatus();
    used_ = true;
    const int fd =
        spec_.hook.kind == Hook::Kind::kTcxEgress
            ? tcx_->Attach(target_->value, program_fd_)
            : bpf_link_create(program_fd_, target_->value, AttachType(spec_.hook.kind), nullptr);
    if (fd == -EPERM && target_->is_fd) {
      return absl::FailedPreconditionError(absl::StrCat(
          "attach to ", spec_.hook.object, ": not permitted; another program may hold the ",
          HookName(spec_.hook.kind), " hook of this control group or of one above it for itself"));
    }
    if (fd < 0) {
      return BpfStatus(
          fd, absl::StrCat("attach ", HookName(spec_.hook.kind), " to ", spec_.hook.object));
    }
    link_fd_ = fd;
    return absl::OkStatus();
  }

  void Detach() override {
    if (link_fd_ < 0) return;
    absl::Status detached;
    if (spec_.hook.kind == Hook::Kind::kTcxEgress) {
      detached = tcx_->Detach(link_fd_);
    } else {
      // Detaches before it returns; close alone may leave that to a worker of the kernel. A control
      // group that is gone has detached it already.
      const int result = bpf_link_detach(link_fd_);
      if (result < 0 && result != -EOPNOTSUPP && result != -ENOLINK) {
        detached = BpfStatus(result, "");
      }
      close(link_fd_);
    }
    if (!detached.ok()) {
      LogWarning(WithContext(detached, absl::StrCat("detach from ", spec_.hook.object)).message());
    }
    link_fd_ = -1;
  }

  absl::Status GoOn(std::int64_t until_ns) override {
    const std::uint32_t key = 0;
    const auto value = static_cast<std::uint64_t>(until_ns);
    const int result = bpf_map_update_elem(until_fd_, &key, &value, BPF_ANY);
    if (result == 0) return absl::OkStatus();
    return BpfStatus(result, absl::StrCat("have BPF program ", id_, " go on"));
  }

  absl::Status Keep(const std::string& ledger) override {
    used_ = true;
    return KeepLedger(dose_fd_, ledger);
  }
  absl::StatusOr<fault_dose> Read() const override { return ReadLedger(dose_fd_); }

 private:
  // A group that is removed would stay in the kernel for as long as the program.
  void ForgetGroup() {
    const absl::StatusOr<bpf_map*> group = object_->Map("fault_cgroup");
    const std::uint32_t key = 0;
    if (group.ok()) bpf_map_delete_elem(bpf_map__fd(*group), &key);
  }

  LoadedProgram(ProgramSpec spec, std::uint32_t id) : spec_(std::move(spec)), id_(id) {}

  const ProgramSpec spec_;
  const std::uint32_t id_;
  // Opened when it was loaded, so that to attach is one call.
  std::unique_ptr<HookTarget> target_;
  std::unique_ptr<BpfObject> object_;
  std::shared_ptr<TcxLinks> tcx_;
  std::shared_ptr<SparePrograms> spares_;
  // It may have counted, or its counts are known by its id.
  bool used_ = false;
  int program_fd_ = -1;
  int dose_fd_ = -1;
  int until_fd_ = -1;
  int link_fd_ = -1;
};

}  // namespace

absl::string_view HookName(Hook::Kind kind) {
  switch (kind) {
    case Hook::Kind::kCgroupIngress:
      return "cgroup_skb/ingress";
    case Hook::Kind::kCgroupEgress:
      return "cgroup_skb/egress";
    case Hook::Kind::kTcxEgress:
      return "tcx/egress";
  }
  Bug("a hook without name");
}

absl::StatusOr<std::vector<std::uint32_t>> KernelPrograms::Attached(const Hook& hook) {
  absl::StatusOr<std::unique_ptr<HookTarget>> target = HookTarget::Open(hook, groups_);
  if (!target.ok()) return target.status();
  // The kernel allows at most 64 programs on a hook of either kind.
  std::array<std::uint32_t, 64> ids{};
  QueryAttributes query{};
  query.target = static_cast<std::uint32_t>((*target)->value);
  query.attach_type = static_cast<std::uint32_t>(AttachType(hook.kind));
  query.program_ids = reinterpret_cast<std::uintptr_t>(ids.data());
  query.program_count = ids.size();
  if (syscall(SYS_bpf, BPF_PROG_QUERY, &query, sizeof(query)) != 0 && errno != ENOENT) {
    return ErrnoStatus(
        errno, absl::StrCat("list BPF programs of ", HookName(hook.kind), " on ", hook.object));
  }
  const size_t count = std::min<size_t>(query.program_count, ids.size());
  return std::vector<std::uint32_t>(ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(count));
}

absl::Status KernelPrograms::CheckGroup(const std::string& cgroup) {
  const absl::StatusOr<int> fd = groups_.Open(cgroup);
  if (fd.ok()) close(*fd);
  return fd.status();
}

absl::Status KernelPrograms::CheckNamespace(const std::string& cgroup) {
  const absl::StatusOr<int> fd = groups_.Open(cgroup);
  if (!fd.ok()) return fd.status();
  const absl::Cleanup close_cgroup = [fd = *fd] { close(fd); };
  return CheckNamespaceOf(*fd, cgroup);
}

absl::Status KernelPrograms::Check(const std::string& name) {
  const absl::StatusOr<CgroupTree> tree = CgroupTree::Read();
  if (!tree.ok()) return tree.status();
  if (tree->V2() == nullptr) {
    return absl::UnimplementedError(
        "sockets belong to cgroup v2 groups, and no v2 hierarchy is mounted on this host");
  }
  return LoadNamed(name, fault_filters{}).status();
}

absl::StatusOr<std::unique_ptr<Program>> KernelPrograms::Load(const ProgramSpec& spec) {
  absl::StatusOr<std::unique_ptr<HookTarget>> hook = HookTarget::Open(spec.hook, groups_);
  if (!hook.ok()) return hook.status();
  absl::StatusOr<std::unique_ptr<BpfObject>> object = spares_->Take({spec.name, spec.filters});
  if (*object == nullptr) object = LoadNamed(spec.name, spec.filters);
  if (!object.ok()) return object.status();
  if (absl::Status set = (*object)->SetVariable("rule", spec.rule); !set.ok()) return set;
  if (!spec.cgroup.empty()) {
    absl::StatusOr<bpf_map*> target = (*object)->Map("fault_cgroup");
    if (!target.ok()) return target.status();
    const absl::StatusOr<int> cgroup = groups_.Open(spec.cgroup);
    if (!cgroup.ok()) return cgroup.status();
    const absl::Cleanup close_cgroup = [fd = *cgroup] { close(fd); };
    const std::uint32_t key = 0;
    const int result = bpf_map_update_elem(bpf_map__fd(*target), &key, &*cgroup, BPF_ANY);
    if (result != 0) {
      return BpfStatus(result, absl::StrCat("name ", spec.cgroup, " to the program"));
    }
  }
  return LoadedProgram::Make(spec, *std::move(object), *std::move(hook), tcx_, spares_);
}

KernelPrograms::KernelPrograms(std::string bpffs)
    : bpffs_(std::move(bpffs)), spares_(std::make_shared<SparePrograms>(LoadNamed)) {}

absl::Status KernelPrograms::HoldTcx(const std::string& device) {
  const auto ifindex = static_cast<int>(if_nametoindex(device.c_str()));
  if (ifindex == 0) return absl::NotFoundError(absl::StrCat("there is no network device ", device));
  return tcx_->Hold(ifindex);
}

absl::Status KernelPrograms::AddSink(Traffic& traffic, int ifindex, std::uint32_t parent) {
  absl::StatusOr<std::unique_ptr<BpfObject>> object = LoadSink();
  if (!object.ok()) return object.status();
  absl::StatusOr<bpf_program*> sink = (*object)->Program("plane_sink");
  if (!sink.ok()) return sink.status();
  return traffic.AddBpfFilter(ifindex, parent, bpf_program__fd(*sink), "faultline_sink");
}

absl::StatusOr<std::unique_ptr<Program>> TakeProgram(const ProgramSpec& spec,
                                                     std::unique_ptr<BpfObject> object) {
  SocketGroups groups;
  absl::StatusOr<std::unique_ptr<HookTarget>> hook = HookTarget::Open(spec.hook, groups);
  if (!hook.ok()) return hook.status();
  return LoadedProgram::Make(spec, std::move(object), *std::move(hook),
                             std::make_shared<TcxLinks>(), nullptr);
}

absl::Status KernelPrograms::CheckLedgers() { return CheckBpffs(bpffs_); }

std::string KernelPrograms::LedgerPath(std::uint32_t id) {
  return faultline::LedgerPath(bpffs_, id);
}

std::unique_ptr<Ledger> KernelPrograms::OpenLedger(const std::string& ledger) {
  const int fd = faultline::OpenLedger(ledger);
  return fd < 0 ? nullptr : std::make_unique<MapLedger>(fd);
}

absl::Status KernelPrograms::DropLedger(const std::string& ledger, std::uint32_t id) {
  return faultline::DropLedger(ledger, id);
}

std::string KernelPrograms::BootId() {
  std::ifstream in("/proc/sys/kernel/random/boot_id");
  std::string id;
  in >> id;
  return id;
}

}  // namespace faultline
