// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics/cgroup_walk.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace faultline {
namespace {

constexpr int kOpenFlags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;

bool IsDirectory(int parent, const dirent& entry) {
  if (entry.d_type != DT_UNKNOWN) return entry.d_type == DT_DIR;
  struct stat info {};
  return ::fstatat(parent, entry.d_name, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(info.st_mode);
}

}  // namespace

struct CgroupWalk::Node {
  std::uint64_t inode = 0;
  // Link count when its children were listed last; 0: never. kernfs keeps it at 2 + subdirectories
  // (kernfs_refresh_inode), as do ext4 and tmpfs, but some file systems always say 1.
  nlink_t links = 0;
  nlink_t links_now = 0;
  // Open while it has children, so that they are found by one path component.
  int fd = -1;
  // Its path is in no hierarchy before this one.
  bool primary = true;
  absl::btree_map<std::string, std::unique_ptr<Node>> children;

  Node() = default;
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;
  ~Node() { Close(); }
  void Close() {
    if (fd >= 0) ::close(fd);
    fd = -1;
  }
};

struct CgroupWalk::Root {
  std::uint32_t hierarchy = 0;
  std::string mount;
  Node node;
};

CgroupWalk::CgroupWalk(const CgroupTree& tree) {
  const auto add = [this](const CgroupTree::Hierarchy* hierarchy) {
    if (hierarchy == nullptr) return;
    for (const std::unique_ptr<Root>& root : roots_) {
      if (root->hierarchy == hierarchy->id) return;
    }
    roots_.push_back(std::make_unique<Root>());
    roots_.back()->hierarchy = hierarchy->id;
    roots_.back()->mount = hierarchy->mount;
  };
  for (absl::string_view controller : {"cpu", "cpuacct", "memory", "blkio"}) {
    add(tree.For(controller));
  }
  add(tree.V2());
  std::sort(roots_.begin(), roots_.end(),
            [](const auto& a, const auto& b) { return a->hierarchy < b->hierarchy; });
}

CgroupWalk::~CgroupWalk() = default;

bool CgroupWalk::Refresh() {
  bool changed = paths_.empty();
  const size_t turn = refreshes_++ % std::max<size_t>(1, roots_.size());
  for (size_t i = 0; i < roots_.size(); ++i) changed |= RefreshRoot(roots_[i].get(), i == turn);
  if (!changed) return false;
  for (const std::unique_ptr<Root>& root : roots_) RefreshRoot(root.get(), true);
  paths_.clear();
  for (const std::unique_ptr<Root>& root : roots_) {
    if (root->node.fd >= 0) Collect(&root->node, root->hierarchy, "");
  }
  return true;
}

bool CgroupWalk::RefreshRoot(Root* root, bool all) {
  Node& node = root->node;
  if (node.fd < 0) node.fd = ::open(root->mount.c_str(), kOpenFlags);
  struct stat info {};
  if (node.fd < 0 || ::fstat(node.fd, &info) != 0) return false;
  node.inode = info.st_ino;
  const bool listed = node.links == info.st_nlink && info.st_nlink >= 2;
  node.links = info.st_nlink;
  const bool changed = !listed && List(&node);
  return RefreshChildren(&node, all) || changed;
}

bool CgroupWalk::RefreshChildren(Node* node, bool all) {
  // Where a known directory is gone, another may stand in its place, which leaves the link count of
  // `node` as it was.
  bool changed = DropGone(node, all);
  if (changed) List(node);
  for (const auto& [name, child] : node->children) {
    if (child->links != child->links_now || child->links_now < 2) {
      child->links = child->links_now;
      if (child->fd < 0) child->fd = ::openat(node->fd, name.c_str(), kOpenFlags);
      changed |= List(child.get());
    }
    if (child->fd < 0) continue;
    changed |= RefreshChildren(child.get(), all);
    if (child->children.empty()) child->Close();
  }
  return changed;
}

// Forgets children whose directory is gone or is another one now; true if there were any.
bool CgroupWalk::DropGone(Node* node, bool all) {
  bool gone = false;
  for (auto it = node->children.begin(); it != node->children.end();) {
    if (!all && !it->second->primary && it->second->fd < 0) {
      ++it;
      continue;
    }
    struct stat info {};
    const int result = ::fstatat(node->fd, it->first.c_str(), &info, AT_SYMLINK_NOFOLLOW);
    if (result == 0 && info.st_ino == it->second->inode) {
      it->second->links_now = info.st_nlink;
      ++it;
    } else {
      it = node->children.erase(it);
      gone = true;
    }
  }
  return gone;
}

// Brings the children in line with the directory; true if one came or went.
bool CgroupWalk::List(Node* node) {
  if (node->fd < 0) return false;
  const int fd = ::openat(node->fd, ".", kOpenFlags);
  if (fd < 0) return false;
  DIR* const dir = ::fdopendir(fd);
  if (dir == nullptr) {
    ::close(fd);
    return false;
  }
  absl::btree_map<std::string, std::unique_ptr<Node>> found;
  bool changed = false;
  while (const dirent* entry = ::readdir(dir)) {
    const absl::string_view name = entry->d_name;
    if (name == "." || name == ".." || !IsDirectory(node->fd, *entry)) continue;
    const std::string key(name);
    if (const auto known = node->children.find(key); known != node->children.end()) {
      found[key] = std::move(known->second);
      continue;
    }
    struct stat info {};
    if (::fstatat(node->fd, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
    auto child = std::make_unique<Node>();
    child->inode = info.st_ino;
    child->links_now = info.st_nlink;
    found[key] = std::move(child);
    changed = true;
  }
  ::closedir(dir);
  changed |= found.size() != node->children.size();
  node->children = std::move(found);
  return changed;
}

void CgroupWalk::Collect(Node* node, std::uint32_t hierarchy, const std::string& path) {
  CgroupPlaces& places = paths_[path.empty() ? "/" : path];
  node->primary = places.empty();
  places.push_back({hierarchy, node->inode});
  for (const auto& [name, child] : node->children) {
    Collect(child.get(), hierarchy, absl::StrCat(path, "/", name));
  }
}

}  // namespace faultline
