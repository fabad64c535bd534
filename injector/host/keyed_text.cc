// SPDX-License-Identifier: Apache-2.0
#include "injector/host/keyed_text.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace faultline {

std::string ValueOfKey(absl::string_view text, absl::string_view key) {
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (!absl::ConsumePrefix(&line, key) || !absl::ConsumePrefix(&line, " ")) continue;
    return std::string(absl::StripAsciiWhitespace(line));
  }
  return "";
}

// tg_set_limit of the kernel's block/blk-throttle.c for v2, tg_set_conf for v1.
std::string LineForKey(absl::string_view file, absl::string_view key, absl::string_view value) {
  if (!value.empty()) return absl::StrCat(key, " ", value);
  return absl::StrCat(key, file == "io.max" ? " rbps=max wbps=max riops=max wiops=max" : " 0");
}

}  // namespace faultline
