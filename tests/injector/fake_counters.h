// SPDX-License-Identifier: Apache-2.0
//
// What the control groups of the machine in memory count, the same for each, and how its files with
// a line per device take a write. One thread at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace faultline {

struct FakeCounters {
  // Of memory.stat.
  std::int64_t anon_bytes = 100'000;
  std::int64_t unevictable_bytes = 0;
  std::int64_t limit_hits = 0;
  std::int64_t oom_kills = 0;
  // Of 254:0, alike for reads and writes.
  std::int64_t bytes = 0;
  std::int64_t operations = 0;

  // They cannot be read.
  bool broken = false;

  // Text of `file`, of cgroup v1 or v2; none: it is no counter.
  std::optional<std::string> Text(const std::string& file) const;
};

// Whether `file` has a line per device.
bool IsKeyedFile(const std::string& file);
// Its text after `line` was written to it.
std::string WithLine(const std::string& text, const std::string& line);

}  // namespace faultline
