// SPDX-License-Identifier: Apache-2.0
#include "base/cgroup_tree.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <fstream>
#include <sstream>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"

namespace faultline {
namespace {

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream in(path);
  if (!in) return ErrnoStatus(errno, absl::StrCat("open ", path));
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// One line of /proc/PID/cgroup: "ID:controllers:path".
struct Membership {
  std::uint32_t id = 0;
  std::string controllers;
  std::string path;
};

std::vector<Membership> ParseMemberships(absl::string_view text) {
  std::vector<Membership> result;
  for (absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(':', 2));
    Membership membership;
    if (parts.size() != 3 || !absl::SimpleAtoi(parts[0], &membership.id)) continue;
    membership.controllers = parts[1];
    membership.path = parts[2];
    result.push_back(std::move(membership));
  }
  return result;
}

// "optional fields - fstype source super-options" of proc(5), mountinfo. A mount whose root is not
// "/" shows only a part of the hierarchy (a container's view) and is no use to name groups by.
bool ParseMount(absl::string_view line, std::string* fstype, std::string* mount,
                std::string* options) {
  const std::vector<absl::string_view> halves = absl::StrSplit(line, absl::MaxSplits(" - ", 1));
  if (halves.size() != 2) return false;
  const std::vector<absl::string_view> left = absl::StrSplit(halves[0], ' ');
  const std::vector<absl::string_view> right = absl::StrSplit(halves[1], ' ');
  if (left.size() < 5 || right.size() < 3 || left[3] != "/") return false;
  *fstype = std::string(right[0]);
  *mount = std::string(left[4]);
  *options = std::string(right[2]);
  return true;
}

}  // namespace

absl::StatusOr<CgroupTree> CgroupTree::Read(const std::string& proc) {
  absl::StatusOr<std::string> mounts = ReadFile(proc + "/self/mountinfo");
  if (!mounts.ok()) return mounts.status();
  absl::StatusOr<std::string> self = ReadFile(proc + "/self/cgroup");
  if (!self.ok()) return self.status();
  const std::vector<Membership> memberships = ParseMemberships(*self);

  CgroupTree tree;
  tree.proc_ = proc;
  for (absl::string_view line : absl::StrSplit(*mounts, '\n', absl::SkipEmpty())) {
    std::string fstype;
    std::string mount;
    std::string options;
    if (!ParseMount(line, &fstype, &mount, &options)) continue;
    const auto known = [&](std::uint32_t id) {
      return std::any_of(tree.hierarchies_.begin(), tree.hierarchies_.end(),
                         [id](const Hierarchy& h) { return h.id == id; });
    };
    if (fstype == "cgroup2" && !known(0)) {
      Hierarchy hierarchy{0, {}, mount, true};
      if (absl::StatusOr<std::string> list = ReadFile(mount + "/cgroup.controllers"); list.ok()) {
        hierarchy.controllers = absl::StrSplit(*list, absl::ByAnyChar(" \n"), absl::SkipEmpty());
      }
      tree.hierarchies_.push_back(std::move(hierarchy));
    } else if (fstype == "cgroup") {
      const std::vector<std::string> mounted = absl::StrSplit(options, ',');
      for (const Membership& membership : memberships) {
        std::vector<std::string> names = absl::StrSplit(membership.controllers, ',');
        if (membership.id == 0 || known(membership.id)) continue;
        if (std::find(mounted.begin(), mounted.end(), names.front()) == mounted.end()) continue;
        tree.hierarchies_.push_back({membership.id, std::move(names), mount, false});
      }
    }
  }
  if (tree.hierarchies_.empty()) {
    return absl::FailedPreconditionError(
        "no control group hierarchy is mounted; mount cgroup2 on /sys/fs/cgroup");
  }
  return tree;
}

absl::string_view CgroupTree::mode() const {
  const bool v1 = std::any_of(hierarchies_.begin(), hierarchies_.end(),
                              [](const Hierarchy& h) { return !h.v2; });
  if (V2() == nullptr) return "v1";
  return v1 ? "hybrid" : "v2";
}

const CgroupTree::Hierarchy* CgroupTree::For(absl::string_view controller) const {
  for (const Hierarchy& hierarchy : hierarchies_) {
    for (const std::string& name : hierarchy.controllers) {
      // v2 calls v1's "blkio" "io".
      const bool io =
          name == (hierarchy.v2 ? "io" : "blkio") && (controller == "io" || controller == "blkio");
      if (name == controller || io) return &hierarchy;
    }
  }
  const bool in_core = controller == "freezer" || controller == "cpuacct";
  return in_core && mode() == "v2" ? V2() : nullptr;
}

const CgroupTree::Hierarchy* CgroupTree::V2() const {
  for (const Hierarchy& hierarchy : hierarchies_) {
    if (hierarchy.v2) return &hierarchy;
  }
  return nullptr;
}

absl::StatusOr<std::string> CgroupTree::PathOf(pid_t pid, const Hierarchy& hierarchy) const {
  absl::StatusOr<std::string> text = ReadFile(absl::StrCat(proc_, "/", pid, "/cgroup"));
  if (!text.ok()) return absl::NotFoundError(absl::StrCat("process ", pid, " does not exist"));
  for (const Membership& membership : ParseMemberships(*text)) {
    if (membership.id == hierarchy.id) return membership.path;
  }
  return absl::NotFoundError(
      absl::StrCat("process ", pid, " is in no group of hierarchy ", hierarchy.id));
}

std::string CgroupTree::Directory(const Hierarchy& hierarchy, absl::string_view path) {
  return path == "/" ? hierarchy.mount : absl::StrCat(hierarchy.mount, path);
}

absl::StatusOr<std::uint64_t> CgroupTree::IdOf(const std::string& dir) {
  struct stat info {};
  if (::stat(dir.c_str(), &info) != 0) return ErrnoStatus(errno, absl::StrCat("stat ", dir));
  return info.st_ino;
}

absl::Status CgroupTree::ValidatePath(absl::string_view path) {
  if (!absl::StartsWith(path, "/") || path.size() >= PATH_MAX) {
    return absl::InvalidArgumentError(
        absl::StrCat("control group \"", path, "\" is not a path from the root, like /web"));
  }
  // A NUL would end it for the kernel, and not for who compares it with what is protected.
  const bool printable = std::none_of(path.begin(), path.end(), [](char c) {
    return absl::ascii_iscntrl(static_cast<unsigned char>(c));
  });
  if (!printable) {
    return absl::InvalidArgumentError(absl::StrCat("control group \"", absl::CEscape(path),
                                                   "\" has a control character in its path"));
  }
  if (path == "/") return absl::OkStatus();
  for (absl::string_view part : absl::StrSplit(path.substr(1), '/')) {
    if (part.empty() || part == "." || part == "..") {
      return absl::InvalidArgumentError(
          absl::StrCat("control group \"", path, "\" has an empty, \".\" or \"..\" part"));
    }
  }
  return absl::OkStatus();
}

}  // namespace faultline
