// SPDX-License-Identifier: Apache-2.0
//
// How the host is, for the conditions under which it wants no faults: a handful of files of /proc
// and /sys, each read only when it is asked for. Called under the controller's mutex.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace faultline {

// Of a kind, bytes.
struct Amounts {
  std::int64_t total = 0;
  std::int64_t available = 0;
};

class HostReadings {
 public:
  virtual ~HostReadings() = default;

  // NotFound, of each: this host does not tell.

  // Share of the last 10 s in which some task waited for `what` ("cpu", "memory", "io"), percent.
  virtual absl::StatusOr<double> Pressure(absl::string_view what) = 0;
  virtual absl::StatusOr<Amounts> Memory() = 0;
  // The hottest zone, degrees Celsius.
  virtual absl::StatusOr<double> Temperature() = 0;
  // Of the last minute, over the CPUs that are online.
  virtual absl::StatusOr<double> LoadPerCpu() = 0;
  // The file system of the state directory.
  virtual absl::StatusOr<Amounts> Disk() = 0;
};

class RealHostReadings final : public HostReadings {
 public:
  // `state_dir` is on the file system that Disk tells of.
  explicit RealHostReadings(std::string state_dir, std::string proc = "/proc",
                            std::string sys = "/sys")
      : state_dir_(std::move(state_dir)), proc_(std::move(proc)), sys_(std::move(sys)) {}

  absl::StatusOr<double> Pressure(absl::string_view what) override;
  absl::StatusOr<Amounts> Memory() override;
  absl::StatusOr<double> Temperature() override;
  absl::StatusOr<double> LoadPerCpu() override;
  absl::StatusOr<Amounts> Disk() override;

 private:
  const std::string state_dir_;
  const std::string proc_;
  const std::string sys_;
};

}  // namespace faultline
