// SPDX-License-Identifier: Apache-2.0
//
// What a control group may use of memory, uses, and cannot give back, on cgroup v1 and v2. Read
// only; stateless.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "injector/host/host.h"

namespace faultline {

// v1 writes "no limit" as the greatest page-aligned number, v2 as "max".
constexpr std::int64_t kNoMemoryLimit = std::int64_t{1} << 60;

// Number in `file` of the memory controller; "max" is kNoMemoryLimit.
absl::StatusOr<std::int64_t> ReadMemory(Host& host, const std::string& cgroup, const char* file);

struct MemoryLimit {
  // kNoMemoryLimit or more: none.
  std::int64_t bytes = kNoMemoryLimit;
  // Whose, and by which file.
  std::string cgroup;
  const char* file = "";
};

// The lowest of those of the group and of the groups that hold it, memory.high included.
absl::StatusOr<MemoryLimit> MemoryLimitInForce(Host& host, const std::string& cgroup, bool v1);

// Bytes of the group and of those below it that the kernel cannot reclaim: memory of processes
// beyond the swap that is left, locked pages, and on v2 what the kernel itself holds for them.
absl::StatusOr<std::int64_t> UnreclaimableMemory(Host& host, const std::string& cgroup, bool v1);

}  // namespace faultline
