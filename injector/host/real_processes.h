// SPDX-License-Identifier: Apache-2.0
//
// The processes of this machine, by pidfd (Linux 5.3) and /proc. One thread at a time.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "injector/host/processes.h"

namespace faultline {

class RealProcesses final : public Processes {
 public:
  explicit RealProcesses(std::string proc) : proc_(std::move(proc)) {}

  absl::StatusOr<std::unique_ptr<Process>> Open(pid_t pid) override;
  absl::StatusOr<std::int64_t> StartTime(pid_t pid) const override;
  absl::Status CheckOrdinary(pid_t pid) const override;

 private:
  const std::string proc_;
};

}  // namespace faultline
