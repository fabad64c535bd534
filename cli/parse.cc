// SPDX-License-Identifier: Apache-2.0
#include "cli/parse.h"

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/time.h"
#include "base/cgroup_tree.h"

namespace faultline::cli {
absl::StatusOr<v1::Target> ParseTarget(absl::string_view text) {
  v1::Target target;
  if (text == "host") {
    target.set_host(true);
    return target;
  }
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(text, absl::MaxSplits(':', 1));
  const std::string value(parts.second);
  std::int32_t pid = 0;
  if (parts.first == "cgroup") {
    const absl::Status valid = CgroupTree::ValidatePath(value);
    if (!valid.ok()) return valid;
    target.set_cgroup(value);
  } else if (parts.first == "unit" && !value.empty()) {
    // As systemctl does: a name without a suffix is a service.
    target.set_unit(absl::StrContains(value, ".") ? value : value + ".service");
  } else if (parts.first == "pid" && absl::SimpleAtoi(value, &pid) && pid > 0) {
    target.set_pid(pid);
  } else if (parts.first == "dev" && !value.empty()) {
    target.set_interface(value);
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("target \"", text, "\" is none; write cgroup:/PATH, unit:NAME or pid:NUMBER"));
  }
  return target;
}

absl::StatusOr<v1::RunTarget> ParseRunTarget(absl::string_view text, absl::string_view node) {
  v1::RunTarget result;
  result.set_node(std::string(node));
  // A node's name has no colon, and a target's kind no slash.
  const size_t slash = text.find('/');
  if (slash < text.find(':')) {
    const std::string named(text.substr(0, slash));
    if (named.empty() || (!node.empty() && named != node)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "target \"", text, "\" is none; write [NODE/]TARGET, like edge-1/unit:nginx.service",
          named.empty() ? "" : ", with the node here or in --node, not both"));
    }
    result.set_node(named);
    text.remove_prefix(slash + 1);
  }
  absl::StatusOr<v1::Target> target = ParseTarget(text);
  if (!target.ok()) return target.status();
  *result.mutable_target() = *std::move(target);
  return result;
}

absl::StatusOr<std::int64_t> ParseDuration(absl::string_view text) {
  absl::Duration duration;
  if (!absl::ParseDuration(text, &duration) || duration <= absl::ZeroDuration() ||
      duration == absl::InfiniteDuration()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "duration \"", text,
        "\" is not a duration above 0; write a number with a unit, like 30s, 250ms or 1m30s"));
  }
  return absl::ToInt64Nanoseconds(duration);
}

absl::StatusOr<std::pair<std::string, std::string>> ParseParameter(absl::string_view text) {
  const std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits('=', 1));
  if (!absl::StrContains(text, "=") || parts.first.empty() || parts.second.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("parameter \"", text, "\" is none; write NAME=VALUE, like loss=5%"));
  }
  return parts;
}

}  // namespace faultline::cli
