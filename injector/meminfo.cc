// SPDX-License-Identifier: Apache-2.0
#include "injector/meminfo.h"

#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace faultline {

std::int64_t MeminfoBytes(absl::string_view text, absl::string_view key) {
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (!absl::ConsumePrefix(&line, key)) continue;
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
    std::int64_t kb = 0;
    if (!words.empty() && absl::SimpleAtoi(words[0], &kb)) return kb * 1024;
  }
  return -1;
}

}  // namespace faultline
