// SPDX-License-Identifier: Apache-2.0
#include "injector/host/socket_groups.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "base/cgroup_tree.h"
#include "base/status.h"

namespace faultline {
namespace {

int OpenDirectory(const std::string& dir) {
  return open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

// 0: there is no such directory.
ino_t InodeOf(const std::string& directory) {
  struct stat info {};
  return stat(directory.c_str(), &info) == 0 ? info.st_ino : 0;
}

bool IsOfV2(int fd) {
  struct statfs about {};
  return fstatfs(fd, &about) == 0 && about.f_type == CGROUP2_SUPER_MAGIC;
}

}  // namespace

absl::StatusOr<int> SocketGroups::Open(const std::string& cgroup) {
  if (absl::Status status = CgroupTree::ValidatePath(cgroup); !status.ok()) return status;
  if (cgroup == "/") {
    return absl::InvalidArgumentError(
        "the root control group's sockets are those of the whole machine; start the target in a "
        "control group of its own");
  }
  if (root_ != 0 && InodeOf(mount_) == root_) {
    const int known = OpenDirectory(absl::StrCat(mount_, cgroup));
    if (known >= 0 && IsOfV2(known)) return known;
    if (known >= 0) close(known);
  }
  absl::StatusOr<CgroupTree> tree = CgroupTree::Read();
  if (!tree.ok()) return tree.status();
  if (tree->V2() == nullptr) {
    return absl::UnimplementedError(
        "sockets belong to cgroup v2 groups, and no v2 hierarchy is mounted on this host");
  }
  const std::string dir = CgroupTree::Directory(*tree->V2(), cgroup);
  const int fd = OpenDirectory(dir);
  if (fd >= 0) {
    mount_ = tree->V2()->mount;
    root_ = InodeOf(mount_);
    return fd;
  }
  if (errno != ENOENT) return ErrnoStatus(errno, absl::StrCat("open ", dir));
  for (const CgroupTree::Hierarchy& hierarchy : tree->hierarchies()) {
    if (hierarchy.v2 || access(CgroupTree::Directory(hierarchy, cgroup).c_str(), F_OK) != 0) {
      continue;
    }
    return absl::FailedPreconditionError(absl::StrCat(
        "control group ", cgroup,
        " exists in cgroup v1 only, and sockets belong to v2 groups: "
        "those of its processes are the v2 root's, as the whole machine's are; start the target "
        "in a group that exists in ",
        tree->V2()->mount, " as well"));
  }
  return absl::NotFoundError(absl::StrCat("there is no control group ", cgroup));
}

}  // namespace faultline
