// SPDX-License-Identifier: Apache-2.0
#include "injector/host/real_host.h"

#include <unistd.h>

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "injector/host/freezer.h"
#include "injector/host/ledger.h"
#include "injector/host/net.h"
#include "injector/host/systemd_units.h"

namespace faultline {
absl::StatusOr<std::unique_ptr<RealHost>> RealHost::Create(Options options, Clock* clock) {
  absl::StatusOr<CgroupTree> tree = CgroupTree::Read(options.proc);
  if (!tree.ok()) return tree.status();
  std::unique_ptr<RealHost> host(new RealHost(std::move(options), clock, std::move(*tree)));
  absl::StatusOr<std::unique_ptr<Cgroups>> cgroups = Cgroups::Create(&host->tree_);
  if (!cgroups.ok()) return cgroups.status();
  host->cgroups_ = std::move(*cgroups);
  host->subtrees_ = std::make_unique<CgroupSubtrees>(host->cgroups_.get());
  if (SystemdRuns()) host->units_ = std::make_unique<SystemdUnits>(host->cgroups_.get());
  return host;
}

LeverOr RealHost::CgroupValue(const std::string& cgroup, const std::string& controller,
                              const std::string& file, const std::string& value) {
  const auto keeper = KeeperOf(cgroup, controller, file);
  if (!keeper.ok()) return keeper.status();
  if (*keeper) return MakeUnitValue(units_.get(), clock_, **keeper, controller, file, value);
  return cgroups_->ValueLever(cgroup, controller, file, value);
}

absl::StatusOr<std::vector<std::unique_ptr<Lever>>> RealHost::HoldController(
    const std::string& cgroup, const std::string& controller) {
  const absl::StatusOr<std::string> directory = cgroups_->DirectoryOf(cgroup, controller);
  if (!directory.ok()) return directory.status();
  return MakeControllers(Controllers(), cgroup, controller);
}

LeverOr RealHost::Freezer(const std::string& cgroup) {
  return MakeFreezer(cgroups_.get(), clock_, cgroup);
}

LeverOr RealHost::Leak(const LeakSpec& spec) {
  return MakeLeak(cgroups_.get(), options_.leak, spec);
}

absl::StatusOr<std::vector<std::unique_ptr<Lever>>> RealHost::Loss(const LossSpec& spec) {
  LossSpec with = spec;
  with.bpffs = options_.bpffs;
  return MakeLoss(with);
}

absl::StatusOr<std::vector<std::unique_ptr<Lever>>> RealHost::Rate(const RateSpec& spec) {
  RateSpec with = spec;
  with.bpffs = options_.bpffs;
  return MakeRate(with);
}

absl::StatusOr<std::string> RealHost::ReadCgroup(const std::string& cgroup,
                                                 const std::string& controller,
                                                 const std::string& file) {
  absl::StatusOr<std::string> text = cgroups_->Read(cgroup, controller, file);
  if (!absl::IsNotFound(text.status()) || !cgroups_->DirectoryOf(cgroup, controller).ok()) {
    return text;
  }
  // Its controller is off, and systemd will turn it on for the fault.
  const auto keeper = KeeperOf(cgroup, controller, file);
  if (!keeper.ok()) return keeper.status();
  if (*keeper) return std::string(kUnitDefault);
  return text;
}

absl::StatusOr<std::optional<Units::Unit>> RealHost::KeeperOf(const std::string& cgroup,
                                                              const std::string& controller,
                                                              const std::string& file) const {
  if (units_ == nullptr || !IsUnitValue(controller, file)) return std::optional<Units::Unit>();
  return units_->Owner(cgroup);
}

absl::StatusOr<std::string> RealHost::ControllerVersion(const std::string& controller) {
  absl::StatusOr<const CgroupTree::Hierarchy*> hierarchy = cgroups_->HierarchyOf(controller);
  if (!hierarchy.ok()) return hierarchy.status();
  return std::string((*hierarchy)->v2 ? "v2" : "v1");
}

absl::StatusOr<std::string> RealHost::Resolve(const v1::Target& target) {
  absl::StatusOr<std::string> path = absl::InvalidArgumentError(
      "the target must be a cgroup, a unit or a pid: this fault acts "
      "on a control group");
  if (target.has_cgroup()) path = ResolveCgroup(target.cgroup());
  if (target.has_unit()) path = ResolveUnit(target.unit());
  if (target.has_pid()) path = ResolvePid(target.pid());
  if (!path.ok() || *path != "/") return path;
  return absl::InvalidArgumentError(
      "the target is the root control group, which holds the whole machine; name one below it");
}

absl::StatusOr<std::string> RealHost::ResolveCgroup(const std::string& path) const {
  if (absl::Status status = CgroupTree::ValidatePath(path); !status.ok()) return status;
  for (const CgroupTree::Hierarchy& hierarchy : tree_.hierarchies()) {
    if (::access(CgroupTree::Directory(hierarchy, path).c_str(), F_OK) == 0) return path;
  }
  return absl::NotFoundError(
      absl::StrCat("there is no control group ", path, " in any hierarchy of this host"));
}

absl::StatusOr<std::string> RealHost::ResolveUnit(const std::string& unit) const {
  if (unit.empty() || absl::StrContains(unit, '/') || !absl::StrContains(unit, '.')) {
    return absl::InvalidArgumentError(
        absl::StrCat("\"", unit, "\" is no unit: give its full name, like nginx.service"));
  }
  if (units_ == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("there is no unit ", unit,
                     ": systemd is not the init of this host; name the control group instead "
                     "(cgroup:/PATH), or a process in it (pid:NUMBER)"));
  }
  const absl::StatusOr<Units::Unit> found = units_->Named(unit);
  if (absl::IsNotFound(found.status()) || (found.ok() && found->cgroup.empty())) {
    return absl::NotFoundError(
        absl::StrCat("unit ", unit,
                     " has no control group: it is not running on this host (see "
                     "`systemctl status ",
                     unit, "`)"));
  }
  if (!found.ok()) return found.status();
  return found->cgroup;
}

// Hierarchies may disagree on v1; the one that most faults need is asked first.
absl::StatusOr<std::string> RealHost::ResolvePid(pid_t pid) const {
  std::vector<const CgroupTree::Hierarchy*> order{tree_.For("cpu"), tree_.For("memory"),
                                                  tree_.V2()};
  std::string path = "/";
  for (const CgroupTree::Hierarchy* hierarchy : order) {
    if (hierarchy == nullptr) continue;
    absl::StatusOr<std::string> found = tree_.PathOf(pid, *hierarchy);
    if (!found.ok()) return found.status();
    if (*found != "/") return found;
  }
  return path;
}

absl::StatusOr<std::vector<std::uint64_t>> RealHost::GroupIds(const std::string& cgroup) {
  std::vector<std::uint64_t> ids;
  for (const CgroupTree::Hierarchy& hierarchy : tree_.hierarchies()) {
    const auto id = CgroupTree::IdOf(CgroupTree::Directory(hierarchy, cgroup));
    ids.push_back(id.ok() ? *id : 0);
  }
  if (std::any_of(ids.begin(), ids.end(), [](std::uint64_t id) { return id != 0; })) return ids;
  return absl::NotFoundError(absl::StrCat("there is no control group ", cgroup, " any more"));
}

int RealHost::Cpus() { return static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN)); }

bool RealHost::HasProcess(const std::string& cgroup) {
  return std::any_of(tree_.hierarchies().begin(), tree_.hierarchies().end(),
                     [&](const CgroupTree::Hierarchy& hierarchy) {
                       return HasProcessBelow(CgroupTree::Directory(hierarchy, cgroup));
                     });
}

absl::Status RealHost::Probe(absl::string_view kind) {
  if (kind == "freezer") return cgroups_->HierarchyOf("freezer").status();
  if (kind == "helper") {
    if (::access(options_.leak.helper.c_str(), X_OK) == 0) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat("the helper program ", options_.leak.helper, " is not there; give --helper"));
  }
  if (kind == "cgroup_value") return absl::OkStatus();
  if (kind == "ledger") return CheckBpffs(options_.bpffs);
  return ProbeNet(kind, options_.plane_devices);
}

LeverOr RealHost::Recover(const v1::Change& change) {
  if (change.kind() == "cgroup_value" && change.has_unit()) {
    if (units_ != nullptr) return RecoverUnitValue(units_.get(), clock_, change);
    return absl::UnavailableError(
        absl::StrCat("systemd does not run, so ", change.unit().unit(), " cannot be set back"));
  }
  if (change.kind() == "cgroup_value") return cgroups_->RecoverValue(change);
  if (change.kind() == "controller") return RecoverController(Controllers(), change);
  if (change.kind() == "freezer") return RecoverFreezer(cgroups_.get(), clock_, change);
  if (change.kind() == "helper") return RecoverLeak(cgroups_.get(), change);
  return RecoverNet(change);
}

std::vector<std::string> RealHost::HomesOf(pid_t pid) const {
  std::vector<std::string> homes;
  for (const CgroupTree::Hierarchy& hierarchy : tree_.hierarchies()) {
    absl::StatusOr<std::string> path = tree_.PathOf(pid, hierarchy);
    if (!path.ok() || std::find(homes.begin(), homes.end(), *path) != homes.end()) continue;
    homes.push_back(std::move(*path));
  }
  return homes;
}

absl::StatusOr<std::string> ReadBootId(const std::string& proc) {
  return ReadText(proc + "/sys/kernel/random/boot_id");
}

}  // namespace faultline
