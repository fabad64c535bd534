// SPDX-License-Identifier: Apache-2.0
#include "injector/host/link.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <net/if.h>
#include <sys/stat.h>
#include <sys/statfs.h>
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

namespace faultline {
namespace {

// enum bpf_attach_type, BPF_TCX_EGRESS; since 6.6, so not in the headers of Debian 12.
constexpr int kTcxEgress = 47;

constexpr char kPinRoot[] = "/sys/fs/bpf";
constexpr char kPinDir[] = "/sys/fs/bpf/faultline";

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

// "program=12 name=loss_in boot=<boot_id>": ids alone come again after a reboot.
std::string DescribeProgram(std::uint32_t id, absl::string_view name) {
  return absl::StrCat("program=", id, " name=", name, " boot=", BootId());
}

std::map<std::string, std::string> ParseDescription(const std::string& text) {
  std::map<std::string, std::string> fields;
  for (absl::string_view word : absl::StrSplit(text, ' ', absl::SkipEmpty())) {
    const std::pair<std::string, std::string> field = absl::StrSplit(word, absl::MaxSplits('=', 1));
    fields.insert(field);
  }
  return fields;
}

std::string PinPath(std::uint32_t program_id) {
  return absl::StrCat(kPinDir, "/dose-", program_id);
}

// Sums over the CPUs.
fault_dose ReadDose(int map_fd) {
  fault_dose total{};
  const int cpus = libbpf_num_possible_cpus();
  if (map_fd < 0 || cpus <= 0) return total;
  std::vector<fault_dose> values(static_cast<size_t>(cpus));
  const std::uint32_t key = 0;
  if (bpf_map_lookup_elem(map_fd, &key, values.data()) != 0) return total;
  for (const fault_dose& one : values) {
    total.hit_packets += one.hit_packets;
    total.hit_buffers += one.hit_buffers;
    total.hit_bytes += one.hit_bytes;
    total.passed_packets += one.passed_packets;
    total.passed_buffers += one.passed_buffers;
    if (one.first_ns != 0 && (total.first_ns == 0 || one.first_ns < total.first_ns)) {
      total.first_ns = one.first_ns;
    }
    total.last_ns = std::max(total.last_ns, one.last_ns);
  }
  return total;
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
    : hook_(std::move(hook)), dosage_(dosage), program_id_(program_id) {}

LinkLever::~LinkLever() {
  if (link_fd_ >= 0) close(link_fd_);
  if (recovered_dose_fd_ >= 0) close(recovered_dose_fd_);
}

absl::StatusOr<std::unique_ptr<LinkLever>> LinkLever::Create(const Hook& hook,
                                                             std::unique_ptr<BpfObject> object,
                                                             const std::string& program,
                                                             Dosage dosage) {
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
  lever->change_.set_kind("link");
  lever->change_.set_object(hook.object);
  lever->change_.set_attribute(absl::StrCat(HookName(hook.kind), " ", hook.what));
  lever->change_.set_after(DescribeProgram(*id, program));
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
    const Hook hook{kind, change.object(), attribute.size() > 1 ? attribute[1] : ""};
    std::unique_ptr<LinkLever> lever(new LinkLever(hook, dosage, id));
    lever->change_ = change;
    lever->of_this_boot_ = boot->second == BootId();
    if (lever->of_this_boot_) lever->recovered_dose_fd_ = bpf_obj_get(PinPath(id).c_str());
    return lever;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("link change names no hook: \"", change.attribute(), "\""));
}

// Best effort: without it a kill loses the counts, never the undo.
void LinkLever::PinDose() {
  struct statfs fs {};
  if (statfs(kPinRoot, &fs) != 0 || fs.f_type != BPF_FS_MAGIC) return;
  absl::StatusOr<bpf_map*> dose = object_->Map("fault_dose");
  if (!dose.ok()) return;
  const std::string path = PinPath(program_id_);
  if (mkdir(kPinDir, 0750) != 0 && errno != EEXIST) return;
  // Program ids come again only after a reboot, which empties bpffs, so a pin of that name is ours.
  unlink(path.c_str());
  const int result = bpf_obj_pin(bpf_map__fd(*dose), path.c_str());
  if (result != 0) LogWarning(BpfStatus(result, absl::StrCat("pin ", path)).message());
}

absl::Status LinkLever::Apply() {
  if (object_ == nullptr)
    return absl::FailedPreconditionError("a recovered link cannot be applied");
  if (link_fd_ >= 0) return absl::OkStatus();
  PinDose();
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
  return absl::OkStatus();
}

absl::StatusOr<bool> LinkLever::Attached() const {
  if (!of_this_boot_) return false;
  absl::StatusOr<std::vector<std::uint32_t>> ids = AttachedPrograms(hook_);
  // With the control group or the device went everything that was attached to it.
  if (absl::IsNotFound(ids.status()) || absl::IsFailedPrecondition(ids.status())) return false;
  if (!ids.ok()) return ids.status();
  return std::find(ids->begin(), ids->end(), program_id_) != ids->end();
}

absl::Status LinkLever::Verify() {
  absl::StatusOr<bool> attached = Attached();
  if (!attached.ok()) return attached.status();
  if (*attached) return absl::OkStatus();
  return absl::AbortedError(
      absl::StrCat("the BPF program is no longer on ", HookName(hook_.kind), " of ", hook_.object));
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
  if (of_this_boot_ && unlink(PinPath(program_id_).c_str()) != 0 && errno != ENOENT &&
      errno != ENOTDIR) {
    return ErrnoStatus(errno, absl::StrCat("remove ", PinPath(program_id_)));
  }
  // Goes with the last pin; as long as there are others it is not empty.
  rmdir(kPinDir);
  return absl::OkStatus();
}

absl::Status LinkLever::Residue() {
  absl::StatusOr<bool> attached = Attached();
  if (!attached.ok()) return attached.status();
  if (*attached) {
    return absl::InternalError(absl::StrCat("BPF program ", program_id_, " is still on ",
                                            HookName(hook_.kind), " of ", hook_.object));
  }
  return absl::OkStatus();
}

Evidence LinkLever::Measure() {
  int fd = recovered_dose_fd_;
  if (object_ != nullptr) {
    absl::StatusOr<bpf_map*> dose = object_->Map("fault_dose");
    fd = dose.ok() ? bpf_map__fd(*dose) : -1;
  }
  // Of a predecessor without a pin nothing is known, which is not 0.
  if (fd < 0) return {};
  return ToEvidence(ReadDose(fd), dosage_);
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
