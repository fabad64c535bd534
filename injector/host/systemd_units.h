// SPDX-License-Identifier: Apache-2.0
//
// systemd's units over D-Bus, their control groups through libcgroup, their drop-ins as files. One
// connection for all calls: systemd answers them in their order, so that a change that it was too
// busy to acknowledge cannot come after the one that takes it back. One thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/systemd.h"
#include "injector/host/cgroup.h"
#include "injector/host/units.h"

namespace faultline {

class SystemdUnits final : public Units {
 public:
  // `cgroups` must outlive it. Connects when it is first asked something.
  explicit SystemdUnits(const Cgroups* cgroups) : cgroups_(cgroups) {}

  absl::StatusOr<Unit> Named(const std::string& name) override;
  absl::StatusOr<std::optional<Unit>> Owner(const std::string& cgroup) override;
  absl::StatusOr<std::vector<std::uint64_t>> Get(const std::string& unit,
                                                 absl::Span<const std::string> properties) override;
  absl::Status Set(const std::string& unit, absl::Span<const Setting> settings) override;
  void DropEmptyGroup(const std::string& cgroup) override;
  absl::StatusOr<std::optional<std::string>> ReadGroup(const std::string& cgroup,
                                                       const std::string& file) override;
  absl::Status WriteGroup(const std::string& cgroup, const std::string& file,
                          const std::string& value) override;
  absl::StatusOr<std::optional<std::string>> ReadFile(const std::string& path) override;
  absl::Status WriteFile(const std::string& path, const std::string& text) override;
  absl::Status RemoveFile(const std::string& path) override;
  bool HasFolder(const std::string& path) override;
  void RemoveFolder(const std::string& path) override;

 private:
  // Makes the connection if there is none; again after systemd closed it (daemon-reexec).
  absl::StatusOr<sd_bus*> Bus();
  // Object path of the unit that `method`(argument) of the manager names.
  absl::StatusOr<std::string> Ask(const char* method, const std::string& argument);
  absl::StatusOr<Unit> Describe(const std::string& path);
  absl::StatusOr<std::string> Text(const std::string& path, const std::string& interface,
                                   const char* property);
  // 0 or 1 of a property that is a flag.
  absl::StatusOr<std::uint64_t> Number(const std::string& path, const std::string& interface,
                                       const std::string& property);

  // SystemdStatus, which also remembers that systemd did not answer.
  absl::Status Told(int result, sd_bus_error* error, absl::string_view what);

  const Cgroups* const cgroups_;
  SystemdBus bus_;
  // Until then nobody waits for it again, CLOCK_BOOTTIME ns.
  std::int64_t silent_until_ns_ = 0;
};

}  // namespace faultline
