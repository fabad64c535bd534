// SPDX-License-Identifier: Apache-2.0
#include "injector/host/controllers.h"

#include <algorithm>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace faultline {
namespace {

constexpr char kSubtreeFile[] = "cgroup.subtree_control";

// One level, by our own write; with "on" before, it only reads.
class Subtree final : public Lever {
 public:
  Subtree(Subtrees* subtrees, v1::Change change)
      : subtrees_(subtrees),
        change_(std::move(change)),
        parent_(ParentGroup(change_.object())),
        was_on_(change_.before() == kControllerOn) {}

  const v1::Change& change() const override { return change_; }

  absl::Status Apply() override {
    if (was_on_) return absl::OkStatus();
    return subtrees_->Turn(parent_, change_.attribute(), true);
  }

  absl::Status Verify() override {
    return CheckOn(subtrees_, change_.object(), change_.attribute());
  }

  absl::Status Restore() override {
    if (was_on_) return absl::OkStatus();
    const absl::StatusOr<bool> on = subtrees_->HasOn(parent_, change_.attribute());
    if (absl::IsNotFound(on.status())) return absl::OkStatus();
    if (!on.ok()) return on.status();
    if (!*on) return absl::OkStatus();
    absl::Status turned = subtrees_->Turn(parent_, change_.attribute(), false);
    // A group in it has the controller on for its own groups by now (cgroup_subtree_control_write
    // of kernel/cgroup/cgroup.c).
    if (absl::IsFailedPrecondition(turned)) {
      return absl::AbortedError(
          absl::StrCat("the ", change_.attribute(), " controller stays on in ", parent_,
                       ", as somebody below it uses it by now: ", turned.message()));
    }
    return turned;
  }

  absl::Status Residue() override {
    if (was_on_) return absl::OkStatus();
    const absl::StatusOr<bool> on = subtrees_->HasOn(parent_, change_.attribute());
    if (absl::IsNotFound(on.status())) return absl::OkStatus();
    if (!on.ok()) return on.status();
    if (!*on) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat(
        "the ", change_.attribute(), " controller is on in ", parent_, "; it was off before"));
  }

 private:
  Subtrees* const subtrees_;
  const v1::Change change_;
  const std::string parent_;
  const bool was_on_;
};

// The nearest group at or above `cgroup` that is a unit's own.
absl::StatusOr<std::optional<Units::Unit>> UnitAbove(Units* units, const std::string& cgroup) {
  if (units == nullptr) return std::optional<Units::Unit>();
  // The root is a slice's own, and has nothing above it that could be turned on.
  for (std::string group = cgroup; group != "/"; group = ParentGroup(group)) {
    absl::StatusOr<std::optional<Units::Unit>> unit = units->Owner(group);
    if (!unit.ok() || *unit) return unit;
  }
  return std::optional<Units::Unit>();
}

// Groups below `top`, down to `cgroup`.
std::vector<std::string> GroupsBetween(const std::string& top, const std::string& cgroup) {
  std::vector<std::string> groups;
  for (std::string group = cgroup; group != top; group = ParentGroup(group)) {
    groups.push_back(group);
  }
  std::reverse(groups.begin(), groups.end());
  return groups;
}

}  // namespace

absl::StatusOr<bool> CgroupSubtrees::HasOn(const std::string& group,
                                           const std::string& controller) {
  const absl::StatusOr<std::string> text = cgroups_->Read(group, controller, kSubtreeFile);
  if (!text.ok()) return text.status();
  const std::vector<absl::string_view> words = absl::StrSplit(*text, ' ');
  return std::find(words.begin(), words.end(), controller) != words.end();
}

absl::Status CgroupSubtrees::Turn(const std::string& group, const std::string& controller,
                                  bool on) {
  return cgroups_->Write(group, controller, kSubtreeFile, absl::StrCat(on ? "+" : "-", controller));
}

std::string ParentGroup(const std::string& cgroup) {
  const size_t slash = cgroup.rfind('/');
  return slash == 0 ? "/" : cgroup.substr(0, slash);
}

absl::Status CheckOn(Subtrees* subtrees, const std::string& cgroup, const std::string& controller) {
  const std::string parent = ParentGroup(cgroup);
  const absl::StatusOr<bool> on = subtrees->HasOn(parent, controller);
  if (absl::IsNotFound(on.status())) return on.status();
  if (!on.ok()) return absl::AbortedError(on.status().message());
  if (*on) return absl::OkStatus();
  return absl::AbortedError(absl::StrCat("the ", controller, " controller was turned off for ",
                                         cgroup, " and those beside it"));
}

absl::StatusOr<std::vector<std::unique_ptr<Lever>>> MakeControllers(const ControllerHost& host,
                                                                    const std::string& cgroup,
                                                                    const std::string& controller) {
  std::vector<std::unique_ptr<Lever>> levers;
  const absl::StatusOr<std::optional<Units::Unit>> unit = UnitAbove(host.units, cgroup);
  if (!unit.ok()) return unit.status();
  std::string top = "/";
  if (*unit) {
    LeverOr lever = MakeUnitController(host, **unit, controller);
    if (!lever.ok()) return lever.status();
    levers.push_back(std::move(*lever));
    top = (*unit)->cgroup;
  }
  for (const std::string& group : GroupsBetween(top, cgroup)) {
    const absl::StatusOr<bool> on = host.subtrees->HasOn(ParentGroup(group), controller);
    if (!on.ok()) return on.status();
    if (*on && group != cgroup) continue;
    v1::Change change;
    change.set_kind("controller");
    change.set_object(group);
    change.set_attribute(controller);
    change.set_before(*on ? kControllerOn : kControllerOff);
    change.set_after(kControllerOn);
    levers.push_back(std::make_unique<Subtree>(host.subtrees, std::move(change)));
  }
  return levers;
}

LeverOr RecoverController(const ControllerHost& host, const v1::Change& change) {
  if (change.has_unit()) return RecoverUnitController(host, change);
  const bool path = absl::StartsWith(change.object(), "/") && change.object() != "/";
  if (path) return std::make_unique<Subtree>(host.subtrees, change);
  return absl::InvalidArgumentError(
      absl::StrCat("the journal names no control group in \"", change.object(), "\""));
}

}  // namespace faultline
