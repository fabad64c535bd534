// SPDX-License-Identifier: Apache-2.0
//
// A systemd in memory with one unit, nginx.service: properties, drop-ins that are merged by their
// names on a reload, and the value of the control group that it makes of them. It can be used
// behind the injector's back, fail at any step, and be late. One thread at a time.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>

#include "injector/host/units.h"

namespace faultline {

class FakeUnits final : public Units {
 public:
  static constexpr char kUnit[] = "nginx.service";
  static constexpr char kGroup[] = "/system.slice/nginx.service";
  static constexpr char kControl[] = "/run/systemd/system.control/nginx.service.d";
  // Of root's, for this boot and for ever.
  static constexpr char kRuntime[] = "/run/systemd/system.control/nginx.service.d/50-CPUQuota.conf";
  static constexpr char kPersistent[] =
      "/etc/systemd/system.control/nginx.service.d/50-CPUQuota.conf";

  using Step = std::function<absl::Status(const std::string&)>;
  // `values` are the host's: what the control group's files say.
  FakeUnits(std::map<std::string, std::string>* values, Step step)
      : values_(values), step_(std::move(step)) {}

  // systemd starts the unit; until then there is none. `controller`: cpu is on for its slice.
  void Start(bool controller);
  // The group goes with all that was in it; what systemd knows of the unit stays.
  void Stop();
  bool Has(const std::string& cgroup) const { return running_ && cgroup == kGroup; }
  // Reads all drop-ins again and makes the group as they say.
  void DaemonReload();
  // `systemctl set-property`, its text in `path`.
  void SetProperty(const std::string& path, std::uint64_t quota_us);
  // Somebody takes the unit's weight away past its drop-ins.
  void DropWeight();
  // Drop-ins, folders and properties, one line each.
  std::string Digest() const;

  // Reads of the group's file that still show the old value after a call of Set.
  int lag = 0;
  // Forgets the unit when it stops, as nothing else needs it.
  bool collects = false;
  // Its memory and i/o are counted.
  bool accounts = true;
  // Questions that a caller waited for.
  int asked = 0;
  // Changes that were lost.
  std::int64_t lost = 0;
  // Drop-ins by path.
  std::map<std::string, std::string> files;

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
  // The result of a step at which nothing can be lost: a file of our own, an effect that is there.
  absl::Status Sure(const char* step);
  bool IsLost(const absl::Status& before);
  void Write(const std::string& path, const std::string& setting, std::uint64_t value);
  bool IsEmptyFolder(const std::string& path) const;
  void Realize();
  void RealizeMemory(const char* property, const char* file);
  std::map<std::string, std::string> Files() const;

  std::map<std::string, std::string>* values_;
  Step step_;
  bool running_ = false;
  bool controller_ = false;
  std::set<std::string> folders_;
  std::map<std::string, std::uint64_t> properties_;
  int late_ = 0;
  // What the files of its group said before the last change.
  std::map<std::string, std::string> old_;
};

}  // namespace faultline
