// SPDX-License-Identifier: Apache-2.0
//
// Two processes that want all the CPU time that they can get, in a group; gone with this, and with
// them whatever else is in the group. Owned by one thread.
#pragma once

#include <sys/types.h>

#include <array>
#include <cstdint>

#include "absl/status/status.h"
#include "tests/kernel/test_cgroup.h"
#include "tests/witness/stalls.h"

namespace faultline {

class Spinners {
 public:
  explicit Spinners(TestCgroup* group);
  ~Spinners() { group_->Empty(); }
  Spinners(const Spinners&) = delete;
  Spinners& operator=(const Spinners&) = delete;

  absl::Status Start();
  // CPUs that the two get over `ms`.
  double Cpus(std::int64_t ms) const;
  // FailedPrecondition: this machine is too busy, or too small, to give them a tenth more than
  // `cpus`.
  absl::Status CheckCanGet(double cpus) const;

 private:
  std::int64_t CpuNs() const { return witness::CpuNs(pids_[0]) + witness::CpuNs(pids_[1]); }

  TestCgroup* const group_;
  // For its clock alone.
  witness::Stalls stalls_;
  std::array<pid_t, 2> pids_{};
};

}  // namespace faultline
