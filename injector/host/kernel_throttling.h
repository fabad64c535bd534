// SPDX-License-Identifier: Apache-2.0
//
// Throttling of this machine's kernel, by bpf/fault_throttle.bpf.c. To load it takes libbpf a walk
// over the kernel's types, 30 to 200 ms, which no start of a fault can wait for: what was loaded is
// kept, detached, for the next fault. One thread at a time.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bpf_object.h"
#include "injector/host/throttling.h"

namespace faultline {

class KernelThrottling final : public Throttling {
 public:
  absl::Status Check() override;
  // This object must outlive it.
  absl::StatusOr<std::unique_ptr<ThrottleWatch>> Watch(const std::string& cgroup) override;

 private:
  class LoadedWatch;

  // To load takes 30 to 200 ms each, which no start of a fault can wait for.
  static constexpr int kWatches = 2;

  // What loading came to; none: it was not tried.
  std::optional<absl::Status> checked_;
  // Loaded, and of no watch.
  std::vector<std::unique_ptr<BpfObject>> idle_;
};

}  // namespace faultline
