// SPDX-License-Identifier: Apache-2.0
#include "tests/injector/fake_counters.h"

#include <map>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace faultline {

std::optional<std::string> FakeCounters::Text(const std::string& file) const {
  if (file == "memory.stat") {
    return absl::StrCat("anon ", anon_bytes, "\nshmem 0\nunevictable ", unevictable_bytes,
                        "\ntotal_rss ", anon_bytes, "\ntotal_shmem 0\ntotal_unevictable ",
                        unevictable_bytes);
  }
  if (file == "memory.failcnt") return absl::StrCat(limit_hits);
  if (file == "memory.oom_control") {
    return absl::StrCat("oom_kill_disable 0\nunder_oom 0\noom_kill ", oom_kills);
  }
  if (file == "memory.events" || file == "memory.events.local") {
    return absl::StrCat("low 0\nhigh ", limit_hits, "\nmax ", limit_hits, "\noom 0\noom_kill ",
                        oom_kills);
  }
  if (file == "io.stat") {
    return absl::StrCat("7:0 rbytes=1 wbytes=1 rios=1 wios=1\n254:0 rbytes=", bytes,
                        " wbytes=", bytes, " rios=", operations, " wios=", operations,
                        " dbytes=0 dios=0");
  }
  const bool v1_bytes = file == "blkio.throttle.io_service_bytes";
  if (v1_bytes || file == "blkio.throttle.io_serviced") {
    const std::int64_t count = v1_bytes ? bytes : operations;
    return absl::StrCat("254:0 Read ", count, "\n254:0 Write ", count, "\n254:0 Total ", 2 * count,
                        "\nTotal ", 2 * count);
  }
  return {};
}

bool IsKeyedFile(const std::string& file) {
  return file == "io.max" ||
         (absl::StartsWith(file, "blkio.throttle.") && absl::EndsWith(file, "_device"));
}

std::string WithLine(const std::string& text, const std::string& line) {
  std::map<std::string, std::string> lines;
  for (const absl::string_view each : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::pair<std::string, std::string> split = absl::StrSplit(each, absl::MaxSplits(' ', 1));
    lines.insert(split);
  }
  const std::pair<std::string, std::string> split = absl::StrSplit(line, absl::MaxSplits(' ', 1));
  lines[split.first] = split.second;
  if (split.second == "0" || split.second == "rbps=max wbps=max riops=max wiops=max") {
    lines.erase(split.first);
  }
  std::string result;
  for (const auto& [key, value] : lines) {
    absl::StrAppend(&result, result.empty() ? "" : "\n", key, " ", value);
  }
  return result;
}

}  // namespace faultline
