// SPDX-License-Identifier: Apache-2.0
//
// A controller of cgroup v2 that stays on for a control group: systemd keeps it on where a unit's
// own group is on the way (by a property that says what holds anyway), our own write to
// cgroup.subtree_control below that, and where there is no systemd. Turned off again is only what
// was turned on. Change: kind "controller", object the group that gets it with those beside it,
// attribute the controller, "off" or "on". One thread at a time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "injector/host/cgroup.h"
#include "injector/host/lever.h"
#include "injector/host/units.h"

namespace faultline {

// cgroup.subtree_control of the groups. The tests bring their own.
class Subtrees {
 public:
  virtual ~Subtrees() = default;

  // Whether `group` has `controller` on for the groups in it. NotFound: there is no such group.
  virtual absl::StatusOr<bool> HasOn(const std::string& group, const std::string& controller) = 0;
  // FailedPrecondition: the kernel says that it is busy.
  virtual absl::Status Turn(const std::string& group, const std::string& controller, bool on) = 0;
};

class CgroupSubtrees final : public Subtrees {
 public:
  // `cgroups` must outlive it.
  explicit CgroupSubtrees(Cgroups* cgroups) : cgroups_(cgroups) {}

  absl::StatusOr<bool> HasOn(const std::string& group, const std::string& controller) override;
  absl::Status Turn(const std::string& group, const std::string& controller, bool on) override;

 private:
  Cgroups* const cgroups_;
};

// What the levers work with; `units` is null where systemd is not the init.
struct ControllerHost {
  Units* units = nullptr;
  Subtrees* subtrees = nullptr;
  Clock* clock = nullptr;
};

// From the top; the last one is for `cgroup`, and also where everything is on already: then it only
// reads. FailedPrecondition: somebody wrote past systemd what could not be brought back.
absl::StatusOr<std::vector<std::unique_ptr<Lever>>> MakeControllers(const ControllerHost& host,
                                                                    const std::string& cgroup,
                                                                    const std::string& controller);
LeverOr RecoverController(const ControllerHost& host, const v1::Change& change);

// What MakeControllers does for a group that is `unit`'s own.
LeverOr MakeUnitController(const ControllerHost& host, const Units::Unit& unit,
                           const std::string& controller);
LeverOr RecoverUnitController(const ControllerHost& host, const v1::Change& change);

// Verify of either: OK while `controller` is on for `cgroup`. Aborted: it is off. NotFound: the
// group that holds it is gone, and what was held with it.
absl::Status CheckOn(Subtrees* subtrees, const std::string& cgroup, const std::string& controller);

constexpr char kControllerOn[] = "on";
constexpr char kControllerOff[] = "off";

// The group that holds `cgroup`, which is not the root.
std::string ParentGroup(const std::string& cgroup);

}  // namespace faultline
