// SPDX-License-Identifier: Apache-2.0
#include "injector/host/link.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <net/if.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <map>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/cgroup_tree.h"
#include "base/log.h"
#include "base/status.h"
#include "bpf/fault.h"
#include "bpf/fault_steer.skel.h"
#include "injector/host/dose.h"
#include "injector/host/ledger.h"

namespace faultline {
namespace {

// enum bpf_attach_type, BPF_TCX_EGRESS; since 6.6, so not in the headers of Debian 12.
constexpr int kTcxEgress = 47;

bpf_attach_type AttachType(Hook::Kind kind) {
  switch (kind) {
    case Hook::Kind::kCgroupIngress:
      return BPF_CGROUP_INET_INGRESS;
    case Hook::Kind::kCgroupEgress:
      return BPF_CGROUP_INET_EGRESS;
    case Hook::Kind::kTcxEgress:
      return static_cast<bpf_attach_type>(kTcxEgress);
  }
  Bug("a hook without attach type");
}

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

std::string BootId() {
  std::ifstream in("/proc/sys/kernel/random/boot_id");
  std::string id;
  in >> id;
  return id;
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

// "program=12 name=loss_in boot=<boot_id> ledger=<path>": ids alone come again after a reboot. The
// path is last, as it may hold anything, and left out where nothing is pinned.
constexpr char kLedgerField[] = " ledger=";

std::string DescribeProgram(std::uint32_t id, absl::string_view name, absl::string_view ledger) {
  return absl::StrCat("program=", id, " name=", name, " boot=", BootId(),
                      ledger.empty() ? "" : kLedgerField, ledger);
}

std::map<std::string, std::string> ParseDescription(const std::string& text) {
  std::map<std::string, std::string> fields;
  const std::pair<std::string, std::string> parts =
      absl::StrSplit(text, absl::MaxSplits(kLedgerField, 1));
  for (absl::string_view word : absl::StrSplit(parts.first, ' ', absl::SkipEmpty())) {
    const std::pair<std::string, std::string> field = absl::StrSplit(word, absl::MaxSplits('=', 1));
    fields.insert(field);
  }
  fields["ledger"] = parts.second;
  return fields;
}

std::int64_t Signed(std::uint64_t count) { return static_cast<std::int64_t>(count); }

Evidence ToEvidence(const fault_dose& dose, LinkLever::Dosage dosage) {
  Evidence evidence;
  evidence.first_touch_ns = Signed(dose.first_ns);
  evidence.last_touch_ns = Signed(dose.last_ns);
  if (dosage == LinkLever::Dosage::kSteering) {
    evidence.dose.push_back(MakeDose("packets_steered", "{packet}", Signed(dose.hit_packets)));
    evidence.dose.push_back(MakeDose("buffers_steered", "{buffer}", Signed(dose.hit_buffers)));
    return evidence;
  }
  evidence.dose.push_back(MakeDose("packets_dropped", "{packet}", Signed(dose.hit_packets)));
  evidence.dose.push_back(MakeDose("buffers_dropped", "{buffer}", Signed(dose.hit_buffers)));
  evidence.dose.push_back(MakeDose("bytes_dropped", "By", Signed(dose.hit_bytes)));
  evidence.dose.push_back(MakeDose("packets_passed", "{packet}", Signed(dose.passed_packets)));
  evidence.dose.push_back(MakeDose("buffers_passed", "{buffer}", Signed(dose.passed_buffers)));
  return evidence;
}

absl::StatusOr<std::uint32_t> ProgramId(int fd) {
  bpf_prog_info info{};
  std::uint32_t size = sizeof(info);
  const int result = bpf_obj_get_info_by_fd(fd, &info, &size);
  if (result < 0) return BpfStatus(result, "read the id of a BPF program");
  return info.id;
}

}  // namespace

// What the kernel calls the hook's object: a descriptor of the control group, to be closed, or the
// index of the device.
struct LinkLever::Target {
  static absl::StatusOr<std::unique_ptr<Target>> Open(const Hook& hook) {
    auto target = std::make_unique<Target>();
    if (hook.kind == Hook::Kind::kTcxEgress) {
      target->value = static_cast<int>(if_nametoindex(hook.object.c_str()));
      if (target->value != 0) return target;
      return absl::NotFoundError(absl::StrCat("there is no network device ", hook.object));
    }
    absl::StatusOr<int> fd = OpenCgroup(hook.object);
    if (!fd.ok()) return fd.status();
    target->is_fd = true;
    target->value = *fd;
    return target;
  }
  Target() = default;
  ~Target() {
    if (is_fd) close(value);
  }
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;

  bool is_fd = false;
  int value = -1;
};

absl::StatusOr<std::vector<std::uint32_t>> LinkLever::AttachedPrograms(const Hook& hook) {
  absl::StatusOr<std::unique_ptr<Target>> target = Target::Open(hook);
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

LinkLever::LinkLever(Hook hook, Dosage dosage, std::uint32_t program_id)
    : hook_(std::move(hook)), dosage_(dosage), program_id_(program_id), watch_(hook_.device) {}

LinkLever::~LinkLever() {
  if (link_fd_ >= 0) close(link_fd_);
  if (recovered_ledger_fd_ >= 0) close(recovered_ledger_fd_);
}

absl::StatusOr<std::unique_ptr<LinkLever>> LinkLever::Create(const Hook& hook,
                                                             std::unique_ptr<BpfObject> object,
                                                             const std::string& program,
                                                             Dosage dosage,
                                                             const std::string& bpffs) {
  absl::StatusOr<bpf_program*> found = object->Program(program);
  if (!found.ok()) return found.status();
  const int fd = bpf_program__fd(*found);
  absl::StatusOr<std::uint32_t> id = ProgramId(fd);
  if (!id.ok()) return id.status();
  absl::StatusOr<std::unique_ptr<Target>> target = Target::Open(hook);
  if (!target.ok()) return target.status();
  std::unique_ptr<LinkLever> lever(new LinkLever(hook, dosage, *id));
  lever->target_ = *std::move(target);
  lever->object_ = std::move(object);
  lever->program_fd_ = fd;
  lever->ledger_ = LedgerPath(bpffs, *id);
  lever->change_.set_kind("link");
  lever->change_.set_object(hook.object);
  lever->change_.set_attribute(absl::StrCat(HookName(hook.kind), " ", hook.what));
  lever->change_.set_after(DescribeProgram(*id, program, lever->ledger_));
  return lever;
}

absl::StatusOr<std::unique_ptr<LinkLever>> LinkLever::Recover(const v1::Change& change) {
  const std::map<std::string, std::string> fields = ParseDescription(change.after());
  const std::vector<std::string> attribute =
      absl::StrSplit(change.attribute(), absl::MaxSplits(' ', 1));
  std::uint32_t id = 0;
  const auto program = fields.find("program");
  const auto name = fields.find("name");
  const auto boot = fields.find("boot");
  if (program == fields.end() || name == fields.end() || boot == fields.end() ||
      !absl::SimpleAtoi(program->second, &id)) {
    return absl::InvalidArgumentError(
        absl::StrCat("link change names no program: \"", change.after(), "\""));
  }
  for (Hook::Kind kind :
       {Hook::Kind::kCgroupIngress, Hook::Kind::kCgroupEgress, Hook::Kind::kTcxEgress}) {
    if (attribute[0] != HookName(kind)) continue;
    const Dosage dosage = name->second == "steer_rate" ? Dosage::kSteering : Dosage::kLoss;
    const Hook hook{kind, change.object(), attribute.size() > 1 ? attribute[1] : "", ""};
    std::unique_ptr<LinkLever> lever(new LinkLever(hook, dosage, id));
    lever->change_ = change;
    lever->of_this_boot_ = boot->second == BootId();
    if (!lever->of_this_boot_) return lever;
    lever->ledger_ = fields.find("ledger")->second;
    lever->recovered_ledger_fd_ = OpenLedger(lever->ledger_);
    return lever;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("link change names no hook: \"", change.attribute(), "\""));
}

absl::Status LinkLever::Apply() {
  if (object_ == nullptr)
    return absl::FailedPreconditionError("a recovered link cannot be applied");
  if (link_fd_ >= 0) return absl::OkStatus();
  if (!ledger_.empty()) {
    absl::StatusOr<bpf_map*> dose = object_->Map("fault_dose");
    absl::Status kept =
        dose.ok() ? KeepLedger(bpf_map__fd(*dose), ledger_) : absl::Status(dose.status());
    // Best effort: without it a kill loses the counts, never the undo.
    if (!kept.ok()) LogWarning(kept.message());
  }
  const int fd = bpf_link_create(program_fd_, target_->value, AttachType(hook_.kind), nullptr);
  if (fd == -EPERM && target_->is_fd) {
    return absl::FailedPreconditionError(absl::StrCat(
        "attach to ", hook_.object, ": not permitted; another program may hold the ",
        HookName(hook_.kind), " hook of this control group or of one above it for itself"));
  }
  if (fd < 0) {
    return BpfStatus(fd, absl::StrCat("attach ", HookName(hook_.kind), " to ", hook_.object));
  }
  link_fd_ = fd;
  watch_.Begin();
  return absl::OkStatus();
}

absl::Status LinkLever::Attached() const {
  const auto gone = [this] {
    return absl::StrCat("the BPF program is no longer on ", HookName(hook_.kind), " of ",
                        hook_.object);
  };
  if (!of_this_boot_) return absl::AbortedError(gone());
  absl::StatusOr<std::vector<std::uint32_t>> ids = AttachedPrograms(hook_);
  // With the control group or the device went everything that was attached to it.
  if (absl::IsNotFound(ids.status()) || absl::IsFailedPrecondition(ids.status())) {
    if (hook_.kind == Hook::Kind::kTcxEgress) return absl::AbortedError(ids.status().message());
    return absl::NotFoundError(ids.status().message());
  }
  if (!ids.ok()) return ids.status();
  const bool attached = std::find(ids->begin(), ids->end(), program_id_) != ids->end();
  return attached ? absl::OkStatus() : absl::AbortedError(gone());
}

absl::Status LinkLever::Verify() {
  const absl::Status attached = Attached();
  return attached.ok() ? watch_.Check() : attached;
}

absl::Status LinkLever::Restore() {
  if (link_fd_ >= 0) {
    // Detaches before it returns; close alone may leave that to a worker of the kernel. A control
    // group or device that is gone has detached it already.
    const int result = bpf_link_detach(link_fd_);
    if (result < 0 && result != -EOPNOTSUPP && result != -ENOLINK) {
      LogWarning(BpfStatus(result, absl::StrCat("detach from ", hook_.object)).message());
    }
    close(link_fd_);
    link_fd_ = -1;
  }
  return DropLedger(ledger_, program_id_);
}

absl::Status LinkLever::Residue() {
  const absl::Status attached = Attached();
  if (absl::IsAborted(attached) || absl::IsNotFound(attached)) return absl::OkStatus();
  if (!attached.ok()) return attached;
  return absl::InternalError(absl::StrCat("BPF program ", program_id_, " is still on ",
                                          HookName(hook_.kind), " of ", hook_.object));
}

Evidence LinkLever::Measure() {
  int fd = recovered_ledger_fd_;
  if (object_ != nullptr) {
    absl::StatusOr<bpf_map*> dose = object_->Map("fault_dose");
    fd = dose.ok() ? bpf_map__fd(*dose) : -1;
  }
  fault_dose dose{};
  if (ReadLedger(fd, &dose).ok()) return ToEvidence(dose, dosage_);
  // Nothing is known, which is not 0.
  Evidence unknown;
  unknown.missing = ledger_.empty()
                        ? "no bpffs kept what the BPF program counted"
                        : absl::StrCat("the counts that were kept in ", ledger_, " are gone");
  return unknown;
}

absl::StatusOr<int> OpenCgroup(const std::string& cgroup) {
  if (absl::Status status = CgroupTree::ValidatePath(cgroup); !status.ok()) return status;
  if (cgroup == "/") {
    return absl::InvalidArgumentError(
        "the root control group's sockets are those of the whole machine; start the target in a "
        "control group of its own");
  }
  absl::StatusOr<CgroupTree> tree = CgroupTree::Read();
  if (!tree.ok()) return tree.status();
  if (tree->V2() == nullptr) {
    return absl::UnimplementedError(
        "sockets belong to cgroup v2 groups, and no v2 hierarchy is mounted on this host");
  }
  const std::string dir = CgroupTree::Directory(*tree->V2(), cgroup);
  const int fd = open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd >= 0) return fd;
  if (errno != ENOENT) return ErrnoStatus(errno, absl::StrCat("open ", dir));
  for (const CgroupTree::Hierarchy& hierarchy : tree->hierarchies()) {
    if (hierarchy.v2 || access(CgroupTree::Directory(hierarchy, cgroup).c_str(), F_OK) != 0) {
      continue;
    }
    return absl::FailedPreconditionError(absl::StrCat(
        "control group ", cgroup,
        " exists in cgroup v1 only, and sockets belong to v2 groups: "
        "those of its processes are the v2 root's, as the whole machine's are; start the target "
        "in a group that exists in ",
        tree->V2()->mount, " as well"));
  }
  return absl::NotFoundError(absl::StrCat("there is no control group ", cgroup));
}

absl::Status HoldTcx() {
  // Closed by the end of the process, as the need for it.
  static int link = -1;
  if (link >= 0) return absl::OkStatus();
  absl::StatusOr<std::unique_ptr<BpfObject>> object =
      BpfObject::Open("fault_steer", SkeletonBytes<fault_steer_bpf>());
  if (!object.ok()) return object.status();
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, (*object)->get()) {
    bpf_program__set_autoload(program, std::strcmp(bpf_program__name(program), "plane_noop") == 0);
  }
  if (absl::Status status = (*object)->Load(); !status.ok()) return status;
  absl::StatusOr<bpf_program*> noop = (*object)->Program("plane_noop");
  if (!noop.ok()) return noop.status();
  constexpr int kLoopback = 1;
  const int fd = bpf_link_create(bpf_program__fd(*noop), kLoopback,
                                 static_cast<bpf_attach_type>(kTcxEgress), nullptr);
  if (fd == -EINVAL || fd == -EOPNOTSUPP) {
    return absl::UnimplementedError("this kernel has no tcx links, which came with 6.6");
  }
  if (fd < 0) return BpfStatus(fd, "attach tcx/egress to lo");
  link = fd;
  return absl::OkStatus();
}

}  // namespace faultline
