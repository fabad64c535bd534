// SPDX-License-Identifier: Apache-2.0
//
// The conditions under which this host wants no faults: the controller looks each second while a
// fault is active, ends every fault when one holds, and starts none while it does. What a host
// cannot measure stops nothing. Called under the controller's mutex.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "injector/host_readings.h"
#include "injector/reserve.h"

namespace faultline {

// 0, or a reserve of nothing: the condition is off.
struct StopLimits {
  // Percent.
  double psi_cpu = 0;
  double psi_memory = 0;
  double psi_io = 0;
  // MemAvailable.
  Reserve memory_free = {};
  // Degrees Celsius.
  double temperature = 0;
  // Load of a minute per CPU.
  double load = 0;
  // Of the file system that the journal is on. A share is at least 512 MiB, but never more than a
  // quarter.
  Reserve disk = {};
  // Silence of a collector that was heard of before. The controller's to tell: lease.h.
  std::int64_t loss_ns = 0;
};

class StopConditions {
 public:
  // Between two looks.
  static constexpr std::int64_t kEveryNs = 1'000'000'000;

  // `readings` must outlive it; null: none is looked at.
  StopConditions(const StopLimits& limits, HostReadings* readings)
      : limits_(limits), readings_(readings) {}

  // The first condition that holds, "memory pressure 72 % is above stop-psi-memory 60 %"; empty:
  // none does.
  std::string Holding() const;

  // Every condition that is on, a sentence each, with why one cannot be looked at here.
  std::vector<std::string> Describe() const;

  // Whether there is anything to look at.
  bool any() const;
  const StopLimits& limits() const { return limits_; }

 private:
  const StopLimits limits_;
  HostReadings* const readings_;
};

}  // namespace faultline
