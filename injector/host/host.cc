// SPDX-License-Identifier: Apache-2.0
#include "injector/host/host.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/cgroup_tree.h"
#include "injector/host/cgroup_value.h"
#include "injector/host/freezer.h"
#include "injector/host/hold.h"
#include "injector/host/throttle_lever.h"

namespace faultline {

ControllerHost Host::Controllers() const {
  return {kernel_.units, kernel_.subtrees, kernel_.clock};
}

LeverOr Host::CgroupValue(const std::string& cgroup, const std::string& controller,
                          const std::string& file, const std::string& value,
                          const std::vector<std::string>& steps) {
  const auto keeper = KeeperOf(cgroup, controller, file);
  if (!keeper.ok()) return keeper.status();
  if (*keeper) {
    return MakeUnitValue(kernel_.units, kernel_.clock, **keeper, controller, file, value, steps);
  }
  return MakeCgroupValue(kernel_.cgroups, cgroup, controller, file, value, steps);
}

LeverOr Host::CgroupKey(const std::string& cgroup, const std::string& controller,
                        const std::string& file, const std::string& key, const std::string& value,
                        const std::vector<std::string>& steps) {
  return MakeCgroupKey(kernel_.cgroups, cgroup, controller, file, key, value, steps);
}

absl::StatusOr<std::vector<std::unique_ptr<Lever>>> Host::HoldController(
    const std::string& cgroup, const std::string& controller) {
  const absl::Status exists = kernel_.cgroups->Check(cgroup, controller);
  if (!exists.ok()) return exists;
  return MakeControllers(Controllers(), cgroup, controller);
}

LeverOr Host::Freezer(const std::string& cgroup, bool freezes) {
  return MakeFreezer(kernel_.cgroups, kernel_.clock, cgroup, freezes);
}

LeverOr Host::WatchThrottling(const std::string& cgroup) {
  return MakeThrottleLever(kernel_.throttling, kernel_.clock, cgroup);
}

LeverOr Host::Leak(const LeakSpec& spec) {
  return MakeLeak(kernel_.cgroups, kernel_.helpers, kernel_.clock, options_.memory_reserve, spec);
}

LeverOr Host::Load(const LoadSpec& spec) {
  return MakeLoad(kernel_.cgroups, kernel_.helpers, kernel_.clock, spec);
}

LeverOr Host::Signal(const SignalSpec& spec) {
  return MakeSignal({kernel_.cgroups, kernel_.helpers, kernel_.processes, kernel_.clock}, spec);
}

absl::StatusOr<std::vector<std::unique_ptr<Lever>>> Host::Loss(const LossSpec& spec) {
  return MakeLoss(kernel_.net, spec);
}

absl::StatusOr<std::vector<std::unique_ptr<Lever>>> Host::Rate(const RateSpec& spec) {
  return MakeRate(kernel_.net, spec);
}

absl::StatusOr<std::vector<std::unique_ptr<Lever>>> Host::Delay(const DelaySpec& spec) {
  return MakeDelay(kernel_.net, spec);
}

absl::StatusOr<std::string> Host::ReadCgroup(const std::string& cgroup,
                                             const std::string& controller,
                                             const std::string& file) {
  absl::StatusOr<std::string> text = kernel_.cgroups->Read(cgroup, controller, file);
  if (!absl::IsNotFound(text.status()) || !kernel_.cgroups->Check(cgroup, controller).ok()) {
    return text;
  }
  // Its controller is off, and systemd will turn it on for the fault.
  const auto keeper = KeeperOf(cgroup, controller, file);
  if (!keeper.ok()) return keeper.status();
  if (*keeper) return std::string(UnitDefault(controller, file));
  return text;
}

absl::StatusOr<std::optional<Units::Unit>> Host::KeeperOf(const std::string& cgroup,
                                                          const std::string& controller,
                                                          const std::string& file) const {
  if (kernel_.units == nullptr || UnitDefault(controller, file) == nullptr) {
    return std::optional<Units::Unit>();
  }
  return kernel_.units->Owner(cgroup);
}

absl::StatusOr<std::string> Host::ControllerVersion(const std::string& controller) {
  const absl::StatusOr<bool> v2 = kernel_.cgroups->IsV2(controller);
  if (!v2.ok()) return v2.status();
  return std::string(*v2 ? "v2" : "v1");
}

absl::StatusOr<std::string> Host::Resolve(const v1::Target& target) {
  absl::StatusOr<std::string> path = absl::InvalidArgumentError(
      "the target must be a cgroup, a unit or a pid: this fault acts "
      "on a control group");
  if (target.has_cgroup()) {
    path = target.cgroup();
    absl::Status exists = CgroupTree::ValidatePath(target.cgroup());
    if (exists.ok()) exists = kernel_.cgroups->Exists(target.cgroup());
    if (!exists.ok()) path = exists;
  }
  if (target.has_unit()) path = ResolveUnit(target.unit());
  if (target.has_pid()) path = kernel_.cgroups->TargetOf(target.pid());
  if (!path.ok() || *path != "/") return path;
  return absl::InvalidArgumentError(
      "the target is the root control group, which holds the whole machine; name one below it");
}

absl::StatusOr<std::int64_t> Host::ProcessStart(const v1::Target& target) const {
  if (!target.has_pid()) return 0;
  return kernel_.processes->StartTime(target.pid());
}

absl::StatusOr<std::string> Host::ResolveUnit(const std::string& unit) const {
  const bool plain = std::all_of(unit.begin(), unit.end(), [](char c) {
    return absl::ascii_isgraph(static_cast<unsigned char>(c)) && c != '/';
  });
  if (!plain || !absl::StrContains(unit, '.')) {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", absl::CEscape(unit), "\" is no unit: give its full name, like nginx.service"));
  }
  if (kernel_.units == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("there is no unit ", unit,
                     ": systemd is not the init of this host; name the control group instead "
                     "(cgroup:/PATH), or a process in it (pid:NUMBER)"));
  }
  const absl::StatusOr<Units::Unit> found = kernel_.units->Named(unit);
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

absl::StatusOr<std::vector<std::string>> Host::UnitGroups(
    absl::Span<const std::string> units) const {
  if (kernel_.units != nullptr) return kernel_.units->GroupsOf(units);
  return absl::FailedPreconditionError("systemd is not the init of this host");
}

absl::StatusOr<std::vector<std::uint64_t>> Host::GroupIds(const std::string& cgroup) {
  return kernel_.cgroups->Ids(cgroup);
}

bool Host::HasProcess(const std::string& cgroup) { return kernel_.cgroups->HasAnyProcess(cgroup); }

absl::Status Host::Probe(absl::string_view kind) {
  if (kind == "freezer") return kernel_.cgroups->IsV2("freezer").status();
  if (kind == "helper") return kernel_.helpers->Check(kHoldProgram);
  if (kind == "load") return kernel_.helpers->Check(kLoadProgram);
  if (kind == "signal") {
    const absl::Status opened = kernel_.processes->Open(1).status();
    return absl::IsUnimplemented(opened) ? opened : absl::OkStatus();
  }
  if (kind == "cgroup_value") return absl::OkStatus();
  if (kind == kWatchKind) return kernel_.throttling->Check();
  if (kind == "ledger") return kernel_.net.programs->CheckLedgers();
  return ProbeNet(kernel_.net, kind, options_.plane_devices);
}

LeverOr Host::Recover(const v1::Change& change) {
  if (change.kind() == "cgroup_value" && change.has_unit()) {
    if (kernel_.units != nullptr) return RecoverUnitValue(kernel_.units, kernel_.clock, change);
    return absl::UnavailableError(
        absl::StrCat("systemd does not run, so ", change.unit().unit(), " cannot be set back"));
  }
  if (change.kind() == "cgroup_value") return RecoverCgroupValue(kernel_.cgroups, change);
  if (change.kind() == "controller") return RecoverController(Controllers(), change);
  if (change.kind() == "freezer") return RecoverFreezer(kernel_.cgroups, kernel_.clock, change);
  if (change.kind() == "signal") return RecoverSignal(change);
  if (change.kind() == kWatchKind) return RecoverThrottleLever(change);
  if (change.kind() == "helper")
    return RecoverHelper(kernel_.cgroups, kernel_.helpers, kernel_.clock, change);
  return RecoverNet(kernel_.net, change);
}

}  // namespace faultline
