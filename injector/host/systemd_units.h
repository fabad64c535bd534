// SPDX-License-Identifier: Apache-2.0
//
// systemd's units over D-Bus, their control groups through libcgroup, their drop-ins as files. One
// connection for all calls: systemd answers them in their order, so that a change that it was too
// busy to acknowledge cannot come after the one that takes it back. One thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/systemd.h"
#include "injector/host/mounted_cgroups.h"
#include "injector/host/units.h"

namespace faultline {

class SystemdUnits final : public Units {
 public:
  // `cgroups` must outlive it. Connects when it is first asked something, to `address` of D-Bus.
  explicit SystemdUnits(MountedCgroups* cgroups, std::string address = kSystemdSocket)
      : cgroups_(cgroups), address_(std::move(address)) {}

  absl::StatusOr<Unit> Named(const std::string& name) override;
  absl::StatusOr<std::vector<std::string>> GroupsOf(absl::Span<const std::string> units) override;
  absl::StatusOr<std::optional<Unit>> Owner(const std::string& cgroup) override;
  absl::StatusOr<std::vector<std::uint64_t>> Get(const std::string& unit,
                                                 absl::Span<const std::string> properties) override;
  absl::Status Set(const std::string& unit, absl::Span<const Setting> settings) override;
  void DropEmptyGroup(const std::string& cgroup) override;
  absl::StatusOr<std::optional<std::string>> ReadGroup(const std::string& cgroup,
                                                       const std::string& file) override;
  absl::Status WriteGroup(const std::string& cgroup, const std::string& file,
                          const std::string& value) override;
  absl::StatusOr<std::unique_ptr<SlowWrite>> BeginWriteGroup(const std::string& cgroup,
                                                             const std::string& file,
                                                             const std::string& value) override;
  absl::StatusOr<std::optional<std::string>> ReadFile(const std::string& path) override;
  absl::Status WriteFile(const std::string& path, const std::string& text) override;
  absl::Status RemoveFile(const std::string& path) override;
  absl::Status RemoveFolder(const std::string& path) override;

 private:
  // Makes the connection if there is none; again after systemd closed it (daemon-reexec).
  absl::StatusOr<sd_bus*> Bus();
  // Object path of the unit that `method`(argument) of the manager names.
  absl::StatusOr<std::string> Ask(const char* method, const std::string& argument);
  // Sends all `calls` (null: none), then takes in the answers, which may be errors, within the time
  // of one call.
  absl::StatusOr<std::vector<SystemdMessage>> AskAll(absl::Span<const SystemdMessage> calls);
  absl::StatusOr<Unit> Describe(const std::string& path);
  absl::StatusOr<std::string> Text(const std::string& path, const std::string& interface,
                                   const char* property);
  // 0 or 1 of a property that is a flag.
  absl::StatusOr<std::uint64_t> Number(const std::string& path, const std::string& interface,
                                       const std::string& property);

  // SystemdStatus, which also remembers that systemd did not answer.
  absl::Status Told(int result, sd_bus_error* error, absl::string_view what);

  MountedCgroups* const cgroups_;
  const std::string address_;
  SystemdBus bus_;
  // Until then nobody waits for it again, CLOCK_BOOTTIME ns.
  std::int64_t silent_until_ns_ = 0;
};

}  // namespace faultline
