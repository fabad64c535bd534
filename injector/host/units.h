// SPDX-License-Identifier: Apache-2.0
//
// Values of control groups that systemd owns. A write of ours would be reverted in silence by the
// next daemon-reload, so systemd is told to make the change (SetUnitProperties, for this boot only)
// and the control group's file is only read, to see that it did. It writes a drop-in for each
// property, which undo unlinks again, after the saved values were set back; it never reverts the
// unit, because that takes the administrator's drop-ins along. One thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/clock.h"
#include "injector/host/lever.h"
#include "injector/host/slow_write.h"

namespace faultline {

// systemd, the control groups of its units and the folders of its drop-ins, as the lever needs
// them. The tests bring their own.
class Units {
 public:
  struct Unit {
    // Its own name, where the one that was asked for is an alias.
    std::string id;
    // Empty: it is not running.
    std::string cgroup;
    // Made by a program, not by a file: its drop-ins are elsewhere.
    bool transient = false;
  };
  struct Setting {
    std::string property;
    // Of a flag: 0 or 1.
    std::uint64_t value = 0;
  };

  virtual ~Units() = default;

  // NotFound: systemd has no such unit.
  virtual absl::StatusOr<Unit> Named(const std::string& name) = 0;
  // The group of each of `units`, in their order; empty: it does not run, or there is no such unit.
  // However many they are, systemd is waited for twice at most.
  virtual absl::StatusOr<std::vector<std::string>> GroupsOf(
      absl::Span<const std::string> units) = 0;
  // The unit whose own group `cgroup` is; none: the group is nobody's, or below a unit's.
  virtual absl::StatusOr<std::optional<Unit>> Owner(const std::string& cgroup) = 0;

  // Values of `properties`, in their order. NotFound: systemd has not loaded such a unit; if it
  // ever does, it reads them from the files.
  virtual absl::StatusOr<std::vector<std::uint64_t>> Get(
      const std::string& unit, absl::Span<const std::string> properties) = 0;
  // SetUnitProperties(runtime=true): all or none. May return before the control group has them.
  virtual absl::Status Set(const std::string& unit, absl::Span<const Setting> settings) = 0;
  // Set also makes the group of a unit that does not run, and leaves it: has systemd take it away.
  // Does nothing to a group that has a process.
  virtual void DropEmptyGroup(const std::string& cgroup) = 0;

  // Text of `file` of the group; none: the group has no such file, as its controller is off.
  // NotFound: there is no such group.
  virtual absl::StatusOr<std::optional<std::string>> ReadGroup(const std::string& cgroup,
                                                               const std::string& file) = 0;
  virtual absl::Status WriteGroup(const std::string& cgroup, const std::string& file,
                                  const std::string& value) = 0;
  // The same of a file that FreesMemory (slow_write.h), without waiting for the kernel.
  virtual absl::StatusOr<std::unique_ptr<SlowWrite>> BeginWriteGroup(const std::string& cgroup,
                                                                     const std::string& file,
                                                                     const std::string& value) = 0;

  // None: there is no such file.
  virtual absl::StatusOr<std::optional<std::string>> ReadFile(const std::string& path) = 0;
  // The whole text or nothing.
  virtual absl::Status WriteFile(const std::string& path, const std::string& text) = 0;
  virtual absl::Status RemoveFile(const std::string& path) = 0;
  // If it is empty; OK if it is not, or is not there.
  virtual absl::Status RemoveFolder(const std::string& path) = 0;
};

// What `file` of `controller`, of cgroup v2, says at first after its controller was turned on,
// where a property of units stands behind it (host/unit_file.h). Null: none does.
const char* UnitDefault(absl::string_view controller, absl::string_view file);

// As Host::CgroupValue for the group of `unit`. FailedPrecondition: the group does not have what
// systemd would give it, so it could not be brought back.
LeverOr MakeUnitValue(Units* units, Clock* clock, const Units::Unit& unit,
                      const std::string& controller, const std::string& file,
                      const std::string& value, const std::vector<std::string>& steps);
LeverOr RecoverUnitValue(Units* units, Clock* clock, const v1::Change& change);

}  // namespace faultline
