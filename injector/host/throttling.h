// SPDX-License-Identifier: Apache-2.0
//
// When the kernel's bandwidth control held tasks of a control group back, as seen by BPF programs
// in the scheduler. kernel_throttling.h has the real ones, the tests have their own. One thread at
// a time.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "bpf/fault.h"

namespace faultline {

// The programs for one control group and all below it. What is attached is never pinned and goes
// with this process, whatever kills it; with the object at the latest.
class ThrottleWatch {
 public:
  virtual ~ThrottleWatch() = default;
  virtual absl::Status Attach() = 0;
  // Sees nothing any more when it returns. OK if it is not attached.
  virtual void Detach() = 0;
  // Since Attach, over all CPUs; also after Detach.
  virtual absl::StatusOr<fault_throttle> Read() const = 0;
};

class Throttling {
 public:
  virtual ~Throttling() = default;
  // OK if the kernel takes the programs; tried. The first Watch after it need not load them.
  virtual absl::Status Check() = 0;
  // Nothing is attached. NotFound: the hierarchy of the cpu controller has no such group.
  virtual absl::StatusOr<std::unique_ptr<ThrottleWatch>> Watch(const std::string& cgroup) = 0;
};

}  // namespace faultline
