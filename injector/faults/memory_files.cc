// SPDX-License-Identifier: Apache-2.0
#include "injector/faults/memory_files.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "injector/faults/counters.h"
#include "injector/meminfo.h"

namespace faultline {
namespace {

// Bytes of the host's swap that are free.
absl::StatusOr<std::int64_t> FreeSwap(const Host& host) {
  const absl::StatusOr<std::string> meminfo = host.Meminfo();
  if (!meminfo.ok()) return meminfo.status();
  return std::max<std::int64_t>(0, MeminfoBytes(*meminfo, "SwapFree:"));
}

// What of it the group may use: v2 bounds swap by itself.
absl::StatusOr<std::int64_t> SwapRoom(Host& host, const std::string& cgroup, bool v1) {
  absl::StatusOr<std::int64_t> free = FreeSwap(host);
  if (!free.ok() || *free == 0 || v1) return free;
  const absl::StatusOr<std::int64_t> limit = ReadMemory(host, cgroup, "memory.swap.max");
  const absl::StatusOr<std::int64_t> used = ReadMemory(host, cgroup, "memory.swap.current");
  // A kernel that does not count the group's swap does not bound it.
  if (!limit.ok() || !used.ok()) return free;
  return std::clamp<std::int64_t>(*limit - *used, 0, *free);
}

}  // namespace

absl::StatusOr<std::int64_t> ReadMemory(Host& host, const std::string& cgroup, const char* file) {
  absl::StatusOr<std::string> text = host.ReadCgroup(cgroup, "memory", file);
  if (!text.ok()) return text.status();
  const absl::string_view trimmed = absl::StripAsciiWhitespace(*text);
  if (trimmed == "max") return kNoMemoryLimit;
  std::int64_t value = 0;
  if (!absl::SimpleAtoi(trimmed, &value)) {
    return absl::InternalError(absl::StrCat("read ", file, ": unexpected text \"", *text, "\""));
  }
  return value;
}

absl::StatusOr<MemoryLimit> MemoryLimitInForce(Host& host, const std::string& cgroup, bool v1) {
  const std::vector<const char*> files = v1 ? std::vector<const char*>{"memory.limit_in_bytes"}
                                            : std::vector<const char*>{"memory.max", "memory.high"};
  MemoryLimit lowest;
  std::string group = cgroup;
  while (!group.empty()) {
    for (const char* file : files) {
      const absl::StatusOr<std::int64_t> bytes = ReadMemory(host, group, file);
      // A group above without the controller has no limit.
      const bool none = absl::IsNotFound(bytes.status()) && group != cgroup;
      if (!bytes.ok() && !none) return bytes.status();
      if (bytes.ok() && *bytes < lowest.bytes) lowest = {*bytes, group, file};
    }
    group.resize(group.rfind('/'));
  }
  return lowest;
}

absl::StatusOr<std::int64_t> UnreclaimableMemory(Host& host, const std::string& cgroup, bool v1) {
  const absl::StatusOr<std::string> stat = host.ReadCgroup(cgroup, "memory", "memory.stat");
  // Nothing is counted for a group whose controller is off.
  if (absl::IsNotFound(stat.status())) return std::int64_t{0};
  if (!stat.ok()) return stat.status();
  const absl::StatusOr<std::int64_t> swap = SwapRoom(host, cgroup, v1);
  if (!swap.ok()) return swap.status();
  const auto sum = [&stat](std::initializer_list<const char*> keys) {
    std::int64_t bytes = 0;
    for (const char* key : keys) bytes += CountOf(*stat, key);
    return bytes;
  };
  // Without "total_" v1 leaves out the groups below.
  const std::int64_t swappable = v1 ? sum({"total_rss", "total_shmem"}) : sum({"anon", "shmem"});
  const std::int64_t locked = sum({v1 ? "total_unevictable" : "unevictable"});
  const std::int64_t kernel =
      v1 ? 0 : sum({"kernel_stack", "pagetables", "percpu", "sock", "slab_unreclaimable"});
  return std::max(swappable - *swap, locked) + kernel;
}

}  // namespace faultline
