// SPDX-License-Identifier: Apache-2.0
#include "base/memory_limit.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/cgroup_tree.h"
#include "base/log.h"

namespace faultline {

std::optional<std::int64_t> OwnMemoryMax(const std::string& proc) {
  const absl::StatusOr<CgroupTree> tree = CgroupTree::Read(proc);
  if (!tree.ok() || tree->V2() == nullptr) return std::nullopt;
  absl::StatusOr<std::string> path = tree->PathOf(::getpid(), *tree->V2());
  if (!path.ok()) return std::nullopt;
  std::optional<std::int64_t> least;
  // The root has no bound.
  while (path->size() > 1) {
    std::string word;
    std::ifstream(CgroupTree::Directory(*tree->V2(), *path) + "/memory.max") >> word;
    std::int64_t bytes = 0;
    // "max" is no number.
    if (absl::SimpleAtoi(word, &bytes)) least = std::min(bytes, least.value_or(bytes));
    path->resize(path->rfind('/'));
  }
  return least;
}

bool WarnOfMemory(absl::string_view option, std::int64_t bytes, std::int64_t rest_bytes,
                  std::optional<std::int64_t> memory_max) {
  if (!memory_max.has_value() || bytes <= *memory_max - rest_bytes) return false;
  constexpr std::int64_t kMib = std::int64_t{1} << 20;
  LogWarning(option, " allows ", bytes / kMib, " MiB, and with about ", rest_bytes / kMib,
             " MiB besides that is more than the ", *memory_max / kMib,
             " MiB of this service (MemoryMax=): the kernel would end it first. Lower the one, or "
             "raise the other with `systemctl edit`");
  return true;
}

}  // namespace faultline
