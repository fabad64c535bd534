// SPDX-License-Identifier: Apache-2.0
//
// A host in memory: control group values, freezers, helpers and links that can be looked at,
// changed behind the injector's back, made to fail at any step, or outlive the process that made
// them. One thread at a time.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "injector/host/controllers.h"
#include "injector/host/host.h"
#include "tests/injector/fake_units.h"

namespace faultline {

// Which controllers the groups in a group have on, with the kernel's rules: a line "GROUP has on
// CONTROLLER" of the host's values each.
class FakeSubtrees final : public Subtrees {
 public:
  using Step = std::function<absl::Status(const std::string&)>;
  FakeSubtrees(std::map<std::string, std::string>* values, Step step)
      : values_(values), step_(std::move(step)) {}

  // Groups that are gone.
  std::set<std::string> removed;

  absl::StatusOr<bool> HasOn(const std::string& group, const std::string& controller) override;
  absl::Status Turn(const std::string& group, const std::string& controller, bool on) override;

 private:
  std::map<std::string, std::string>* values_;
  Step step_;
};

class FakeHost final : public Host {
 public:
  explicit FakeHost(Clock* clock);

  // Called before and after the effect of every step ("apply", "restore", "verify", "residue",
  // "make"); what it returns is the step's result. Null: all succeed.
  std::function<absl::Status(const std::string& step)> on_step;

  // What the kernel would show: everything that a fault can change, one line each.
  std::string Digest() const;
  // A process that dies takes its links along; values and helpers stay.
  void ProcessDied() { links.clear(); }
  void AddGroup(const std::string& path);
  // The group is removed and made again, with its values as they were.
  void Remake(const std::string& path) { ++ids[path]; }

  // "/web cpu:cpu.cfs_quota_us" to its value.
  std::map<std::string, std::string> values;
  // Fault ids with a helper or a link.
  std::set<std::string> helpers;
  std::set<std::string> links;
  // What cpu.stat shows of every group.
  std::int64_t throttled_ns = 0;
  std::int64_t throttled_periods = 0;
  // Dose of every helper.
  std::int64_t held_bytes = 0;
  // What the program of every link counts, and when it did so first and last; outlives the process
  // where there is a ledger.
  std::int64_t dropped = 0;
  std::int64_t first_drop_ns = 0;
  std::int64_t last_drop_ns = 0;
  bool ledger = true;
  // Groups without a process.
  std::set<std::string> empty;
  // Groups that are gone.
  std::set<std::string> removed;
  // Of groups that were made again.
  std::map<std::string, std::uint64_t> ids;
  // Who owns the cpu controller; "v2" on a host with systemd.
  std::string cpu_version = "v1";
  // Its units, whose groups' values they keep.
  FakeUnits units;
  FakeSubtrees subtrees;

  LeverOr CgroupValue(const std::string& cgroup, const std::string& controller,
                      const std::string& file, const std::string& value) override;
  absl::StatusOr<std::vector<std::unique_ptr<Lever>>> HoldController(
      const std::string& cgroup, const std::string& controller) override;
  LeverOr Freezer(const std::string& cgroup) override;
  LeverOr Leak(const LeakSpec& spec) override;
  absl::StatusOr<std::vector<std::unique_ptr<Lever>>> Loss(const LossSpec& spec) override;
  absl::StatusOr<std::vector<std::unique_ptr<Lever>>> Rate(const RateSpec& spec) override;
  absl::StatusOr<std::string> ReadCgroup(const std::string& cgroup, const std::string& controller,
                                         const std::string& file) override;
  absl::StatusOr<std::string> ControllerVersion(const std::string& controller) override;
  absl::StatusOr<std::string> Resolve(const v1::Target& target) override;
  absl::StatusOr<std::vector<std::uint64_t>> GroupIds(const std::string& cgroup) override;
  int Cpus() override { return 4; }
  bool HasProcess(const std::string& cgroup) override { return empty.count(cgroup) == 0; }
  absl::Status Probe(absl::string_view kind) override;
  LeverOr Recover(const v1::Change& change) override;

  absl::Status Step(const std::string& step) const;
  Clock* clock() const { return clock_; }

 private:
  ControllerHost Controllers() { return {&units, &subtrees, units.clock()}; }
  Clock* clock_;
};

}  // namespace faultline
