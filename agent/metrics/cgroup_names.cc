// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_split.h"
#include "agent/metrics/cgroups.h"

namespace faultline {
namespace {

// Types of unit that systemd gives a control group (systemd.unit(5), "cgroup" in each type's page).
constexpr std::array<absl::string_view, 6> kUnitSuffixes = {".service", ".scope", ".slice",
                                                            ".socket",  ".mount", ".swap"};
// Docker, containerd, cri-o and podman all name a container by a SHA-256.
constexpr size_t kContainerDigits = 64;

// The run of exactly 64 hex digits in `part`, if no letter or digit stands beside it.
absl::string_view HexRun(absl::string_view part) {
  size_t begin = 0;
  while (begin < part.size()) {
    size_t end = begin;
    while (end < part.size() && absl::ascii_isalnum(static_cast<unsigned char>(part[end]))) ++end;
    const absl::string_view word = part.substr(begin, end - begin);
    const bool hex = std::all_of(word.begin(), word.end(), [](char c) {
      return absl::ascii_isxdigit(static_cast<unsigned char>(c));
    });
    if (word.size() == kContainerDigits && hex) return word;
    begin = end + 1;
  }
  return {};
}

}  // namespace

std::string UnitOf(absl::string_view path) {
  const std::vector<absl::string_view> parts = absl::StrSplit(path, '/');
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    for (absl::string_view suffix : kUnitSuffixes) {
      if (part->size() <= suffix.size() || !absl::EndsWith(*part, suffix)) continue;
      // systemd puts '_' before names that would hide a file of the control group.
      return std::string(part->front() == '_' ? part->substr(1) : *part);
    }
  }
  return "";
}

std::string ContainerOf(absl::string_view path) {
  const std::vector<absl::string_view> parts = absl::StrSplit(path, '/');
  for (auto part = parts.rbegin(); part != parts.rend(); ++part) {
    // conmon watches the container from outside it, in a group of the same id.
    if (absl::StrContains(*part, "conmon")) continue;
    if (const absl::string_view id = HexRun(*part); !id.empty()) return std::string(id);
  }
  return "";
}

}  // namespace faultline
