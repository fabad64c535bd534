// SPDX-License-Identifier: Apache-2.0
//
// Services that no fault may touch, whoever asks: those that a person needs to get back into the
// host and to see what happened, Faultline's own, and what the owner names. Where they run is
// looked up at each check, as a unit may start or move at any time. Immutable; called under the
// controller's mutex.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "faultline/v1/faults.pb.h"

namespace faultline {

class Protection {
 public:
  // Who tells where things run.
  struct Lookup {
    // As Host::UnitGroups: asked once of all units, as a command waits for the answer.
    std::function<absl::StatusOr<std::vector<std::string>>(absl::Span<const std::string> units)>
        unit_groups;
    // As Host::Members.
    std::function<std::vector<pid_t>(const std::string& cgroup)> members;
    // As Host::Resolve.
    std::function<absl::StatusOr<std::string>(const v1::Target& target)> resolve;
  };

  // `units` beside the built-in ones. `proc`: where processes have their names on a host without
  // systemd.
  explicit Protection(std::vector<std::string> units, std::string proc = "/proc")
      : units_(std::move(units)), proc_(std::move(proc)) {}

  // FailedPrecondition, naming the unit: `cgroup` is its group, holds it or lies in it. Without
  // systemd: it is, or holds, the group of a process of that service; one within may be anybody's.
  // Another error: it cannot be told where the units run, so nothing is allowed.
  absl::Status Check(const Lookup& lookup, const std::string& cgroup) const;

  // Those that are always protected, and those that the owner names.
  std::vector<std::string> units() const;

 private:
  absl::Status CheckProcesses(const Lookup& lookup, const std::string& cgroup) const;

  std::vector<std::string> units_;
  std::string proc_;
};

}  // namespace faultline
