// SPDX-License-Identifier: Apache-2.0
//
// A random history of a machine and its injector, told by a seed: faults of every kind begin, end
// and overlap, calls to the kernel fail, are slow or are lost, somebody else changes things, the
// host is too busy for faults, the collector is silent, the injector dies at any step and comes
// back. At rest the kernel has to be what it was before, and no row of the journal open. Needs no
// test framework, so that the bench can run a million of them.
#pragma once

#include <cstdint>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "tests/injector/controller_fixture.h"

namespace faultline {

class History {
 public:
  explicit History(std::uint64_t seed);

  // `events` random ones, then rest. What is wrong then, one sentence each; empty: nothing.
  std::vector<std::string> Run(int events);

  // What happened, to show that a history is no idle one.
  struct Counts {
    std::int64_t started = 0;
    std::int64_t crashes = 0;
    std::int64_t failed_calls = 0;
    std::int64_t lost_calls = 0;
    std::int64_t meddled = 0;
    std::int64_t leased = 0;
    // By a stop condition, of faults that were active.
    std::int64_t stopped = 0;
  };
  const Counts& counts() const { return counts_; }

 private:
  int Roll(int sides) { return static_cast<int>(random_() % static_cast<unsigned>(sides)); }
  void DisturbCalls();
  void Event();
  v1::FaultSpec Spec();
  void SetShape(v1::FaultSpec* spec);
  void SetStart(v1::FaultSpec* spec);
  void CallByCollector();
  void Start();
  void Meddle();
  void MeddleWithValue();
  void CrashSomewhere();
  std::vector<std::string> Check();
  void CheckStates(std::vector<std::string>* wrong);

  // A host that is busy or not, and tells nothing else.
  class Busyness final : public HostReadings {
   public:
    absl::StatusOr<double> Pressure(absl::string_view /*what*/) override { return percent; }
    absl::StatusOr<Amounts> Memory() override { return absl::NotFoundError("not told"); }
    absl::StatusOr<double> Temperature() override { return absl::NotFoundError("not told"); }
    absl::StatusOr<double> LoadPerCpu() override { return absl::NotFoundError("not told"); }
    absl::StatusOr<Amounts> Disk() override { return absl::NotFoundError("not told"); }
    double percent = 0;
  };

  std::mt19937_64 random_;
  Busyness busyness_;
  ControllerWorld world_;
  // A machine with systemd: faults act on its unit too.
  const bool systemd_;
  // What has to be there at rest: what was there at first, or what somebody else last wrote.
  std::map<std::string, std::string> expected_;
  std::string before_;
  int serial_ = 0;
  Counts counts_;
};

// The types of fault that histories are made of.
const std::vector<std::string>& HistoryTypes();

}  // namespace faultline
