// SPDX-License-Identifier: Apache-2.0
#include "injector/host/mounted_cgroups.h"

#include <libcgroup.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "base/status.h"
#include "injector/host/text_file.h"

namespace faultline {
namespace {

// libcgroup keeps its mount table, its last error and its text buffer in globals.
ABSL_CONST_INIT absl::Mutex library_mutex(absl::kConstInit);

struct CgroupFree {
  void operator()(cgroup* group) const { cgroup_free(&group); }
};
using Group = std::unique_ptr<cgroup, CgroupFree>;

// Never formats 0: the library's text for success reads like an error.
absl::Status LibraryStatus(int code, absl::string_view what)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(library_mutex) {
  if (code == 0) return absl::OkStatus();
  if (code == ECGOTHER && cgroup_get_last_errno() != 0) {
    return ErrnoStatus(cgroup_get_last_errno(), what);
  }
  return absl::InternalError(absl::StrCat(what, ": ", cgroup_strerror(code)));
}

// The library's own object for `cgroup`, with one controller; it touches nothing yet.
absl::StatusOr<Group> MakeGroup(const std::string& cgroup, const std::string& controller,
                                cgroup_controller** with)
    ABSL_EXCLUSIVE_LOCKS_REQUIRED(library_mutex) {
  Group group(cgroup_new_cgroup(cgroup.c_str()));
  *with = group == nullptr ? nullptr : cgroup_add_controller(group.get(), controller.c_str());
  if (*with == nullptr) {
    return absl::InternalError(absl::StrCat("libcgroup has no room for group ", cgroup));
  }
  return group;
}

// What the v2 core itself offers is no controller to libcgroup 2.0.
bool IsCoreFile(const std::string& file) { return absl::StartsWith(file, "cgroup."); }

}  // namespace

absl::StatusOr<std::unique_ptr<MountedCgroups>> MountedCgroups::Create(CgroupTree tree) {
  const absl::MutexLock lock(&library_mutex);
  absl::Status status = LibraryStatus(cgroup_init(), "start libcgroup");
  if (!status.ok()) return status;
  return std::unique_ptr<MountedCgroups>(new MountedCgroups(std::move(tree)));
}
absl::StatusOr<const CgroupTree::Hierarchy*> MountedCgroups::HierarchyOf(
    const std::string& controller) const {
  const CgroupTree::Hierarchy* hierarchy = tree_.For(controller);
  if (hierarchy != nullptr) return hierarchy;
  return absl::UnimplementedError(
      absl::StrCat("no mounted control group hierarchy has the ", controller, " controller"));
}

absl::StatusOr<std::string> MountedCgroups::DirectoryOf(const std::string& cgroup,
                                                        const std::string& controller) const {
  absl::StatusOr<const CgroupTree::Hierarchy*> hierarchy = HierarchyOf(controller);
  if (!hierarchy.ok()) return hierarchy.status();
  std::string directory = CgroupTree::Directory(**hierarchy, cgroup);
  if (::access(directory.c_str(), F_OK) == 0) return directory;
  return absl::NotFoundError(absl::StrCat("control group ", cgroup, " does not exist in the ",
                                          controller, " hierarchy (", (*hierarchy)->mount, ")"));
}

absl::StatusOr<std::string> MountedCgroups::Read(const std::string& cgroup,
                                                 const std::string& controller,
                                                 const std::string& file) const {
  absl::StatusOr<std::string> directory = DirectoryOf(cgroup, controller);
  if (!directory.ok()) return directory.status();
  absl::StatusOr<std::string> text = ReadText(absl::StrCat(*directory, "/", file));
  // The group went between the two: the file's own ENODEV.
  if (text.ok() || ::access(directory->c_str(), F_OK) == 0) return text;
  return absl::NotFoundError(text.status().message());
}

absl::StatusOr<std::string> MountedCgroups::FileOf(const std::string& cgroup,
                                                   const std::string& controller,
                                                   const std::string& file) const {
  absl::StatusOr<std::string> directory = DirectoryOf(cgroup, controller);
  if (!directory.ok()) return directory.status();
  std::string path = absl::StrCat(*directory, "/", file);
  if (::access(path.c_str(), R_OK) == 0) return path;
  return ErrnoStatus(errno, absl::StrCat("read ", path));
}

absl::Status MountedCgroups::Write(const std::string& cgroup, const std::string& controller,
                                   const std::string& file, const std::string& value) {
  absl::StatusOr<std::string> directory = DirectoryOf(cgroup, controller);
  if (!directory.ok()) return directory.status();
  if (IsCoreFile(file)) return WriteText(absl::StrCat(*directory, "/", file), value);
  const absl::MutexLock lock(&library_mutex);
  cgroup_controller* with = nullptr;
  absl::StatusOr<Group> group = MakeGroup(cgroup, controller, &with);
  if (!group.ok()) return group.status();
  const std::string what = absl::StrCat("set ", file, " of ", cgroup, " to ", value);
  absl::Status status =
      LibraryStatus(cgroup_add_value_string(with, file.c_str(), value.c_str()), what);
  if (!status.ok()) return status;
  return LibraryStatus(cgroup_modify_cgroup(group->get()), what);
}

// Past the library, whose lock everybody else would wait for meanwhile.
absl::StatusOr<std::unique_ptr<SlowWrite>> MountedCgroups::BeginWrite(const std::string& cgroup,
                                                                      const std::string& controller,
                                                                      const std::string& file,
                                                                      const std::string& value) {
  absl::StatusOr<std::string> directory = DirectoryOf(cgroup, controller);
  if (!directory.ok()) return directory.status();
  return BeginSlowWrite(absl::StrCat(*directory, "/", file), value);
}

absl::StatusOr<bool> MountedCgroups::HasProcess(const std::string& cgroup,
                                                const std::string& controller,
                                                const Ignored& ignored) const {
  absl::StatusOr<std::string> top = DirectoryOf(cgroup, controller);
  if (!top.ok()) return top.status();
  return HasProcessBelow(*top, ignored);
}

bool HasProcessBelow(const std::string& directory, const Cgroups::Ignored& except) {
  const auto has = [&](const std::filesystem::path& folder) {
    absl::StatusOr<std::string> procs = ReadText(folder / "cgroup.procs");
    // EOPNOTSUPP of a threaded v2 group, which lists threads only.
    if (!procs.ok()) procs = ReadText(folder / "cgroup.threads");
    if (!procs.ok()) return false;
    for (absl::string_view line : absl::StrSplit(*procs, '\n', absl::SkipEmpty())) {
      pid_t pid = 0;
      if (absl::SimpleAtoi(line, &pid) && (except == nullptr || !except(pid))) return true;
    }
    return false;
  };
  // Folder by folder: a group that goes meanwhile takes nothing with it but itself.
  std::vector<std::filesystem::path> folders{directory};
  while (!folders.empty()) {
    const std::filesystem::path folder = std::move(folders.back());
    folders.pop_back();
    if (has(folder)) return true;
    std::error_code error;
    for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end;
         at.increment(error)) {
      std::error_code ignored;
      if (at->is_directory(ignored)) folders.push_back(at->path());
    }
  }
  return false;
}

namespace {

// Each process once, by its number; threads of it too, where a group has those alone.
std::vector<pid_t> ProcessesBelow(const std::vector<std::string>& directories) {
  std::vector<pid_t> found;
  for (const std::string& directory : directories) {
    // Each is listed and none ends the search.
    HasProcessBelow(directory, [&found](pid_t pid) {
      found.push_back(pid);
      return true;
    });
  }
  // A process has several threads, is in several hierarchies, and is met twice when it moves.
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

}  // namespace

absl::Status MountedCgroups::Attach(const std::string& cgroup, const std::string& controller,
                                    pid_t pid) {
  const absl::MutexLock lock(&library_mutex);
  cgroup_controller* with = nullptr;
  absl::StatusOr<Group> group = MakeGroup(cgroup, controller, &with);
  if (!group.ok()) return group.status();
  return LibraryStatus(cgroup_attach_task_pid(group->get(), pid),
                       absl::StrCat("move process ", pid, " into ", controller, " group ", cgroup));
}

absl::StatusOr<bool> MountedCgroups::IsV2(const std::string& controller) const {
  const absl::StatusOr<const CgroupTree::Hierarchy*> hierarchy = HierarchyOf(controller);
  if (!hierarchy.ok()) return hierarchy.status();
  return (*hierarchy)->v2;
}

absl::Status MountedCgroups::Check(const std::string& cgroup, const std::string& controller) const {
  return DirectoryOf(cgroup, controller).status();
}

absl::Status MountedCgroups::Exists(const std::string& cgroup) const {
  if (absl::Status status = CgroupTree::ValidatePath(cgroup); !status.ok()) return status;
  for (const CgroupTree::Hierarchy& hierarchy : tree_.hierarchies()) {
    if (::access(CgroupTree::Directory(hierarchy, cgroup).c_str(), F_OK) == 0) {
      return absl::OkStatus();
    }
  }
  return absl::NotFoundError(
      absl::StrCat("there is no control group ", cgroup, " in any hierarchy of this host"));
}

absl::StatusOr<std::vector<std::uint64_t>> MountedCgroups::Ids(const std::string& cgroup) const {
  std::vector<std::uint64_t> ids;
  for (const CgroupTree::Hierarchy& hierarchy : tree_.hierarchies()) {
    const auto id = CgroupTree::IdOf(CgroupTree::Directory(hierarchy, cgroup));
    ids.push_back(id.ok() ? *id : 0);
  }
  if (std::any_of(ids.begin(), ids.end(), [](std::uint64_t id) { return id != 0; })) return ids;
  return absl::NotFoundError(absl::StrCat("there is no control group ", cgroup, " any more"));
}

absl::StatusOr<const CgroupTree::Hierarchy*> MountedCgroups::MainHierarchyOf(
    const std::string& cgroup) const {
  std::vector<const CgroupTree::Hierarchy*> all{tree_.For("cpu"), tree_.For("memory"), tree_.V2()};
  for (const CgroupTree::Hierarchy& hierarchy : tree_.hierarchies()) all.push_back(&hierarchy);
  for (const CgroupTree::Hierarchy* hierarchy : all) {
    if (hierarchy == nullptr) continue;
    if (::access(CgroupTree::Directory(*hierarchy, cgroup).c_str(), F_OK) == 0) return hierarchy;
  }
  return absl::NotFoundError(absl::StrCat("there is no control group ", cgroup, " any more"));
}

absl::StatusOr<std::vector<pid_t>> MountedCgroups::ProcessesOf(const std::string& cgroup) const {
  const absl::StatusOr<const CgroupTree::Hierarchy*> hierarchy = MainHierarchyOf(cgroup);
  if (!hierarchy.ok()) return hierarchy.status();
  return ProcessesBelow({CgroupTree::Directory(**hierarchy, cgroup)});
}

std::vector<pid_t> MountedCgroups::MembersOf(const std::string& cgroup) const {
  std::vector<std::string> directories;
  for (const CgroupTree::Hierarchy& hierarchy : tree_.hierarchies()) {
    directories.push_back(CgroupTree::Directory(hierarchy, cgroup));
  }
  return ProcessesBelow(directories);
}

absl::StatusOr<bool> MountedCgroups::Holds(const std::string& cgroup, pid_t pid) const {
  const absl::StatusOr<const CgroupTree::Hierarchy*> hierarchy = MainHierarchyOf(cgroup);
  if (!hierarchy.ok()) return hierarchy.status();
  const absl::StatusOr<std::string> home = tree_.PathOf(pid, **hierarchy);
  if (!home.ok()) return home.status();
  return *home == cgroup || absl::StartsWith(*home, cgroup + "/");
}

bool MountedCgroups::HasAnyProcess(const std::string& cgroup) const {
  return std::any_of(tree_.hierarchies().begin(), tree_.hierarchies().end(),
                     [&](const CgroupTree::Hierarchy& hierarchy) {
                       return HasProcessBelow(CgroupTree::Directory(hierarchy, cgroup));
                     });
}

absl::StatusOr<std::string> MountedCgroups::HomeOf(pid_t pid, const std::string& controller) const {
  const absl::StatusOr<const CgroupTree::Hierarchy*> hierarchy = HierarchyOf(controller);
  if (!hierarchy.ok()) return hierarchy.status();
  return tree_.PathOf(pid, **hierarchy);
}

absl::StatusOr<std::string> MountedCgroups::TargetOf(pid_t pid) const {
  std::string path = "/";
  for (const CgroupTree::Hierarchy* hierarchy :
       {tree_.For("cpu"), tree_.For("memory"), tree_.V2()}) {
    if (hierarchy == nullptr) continue;
    absl::StatusOr<std::string> found = tree_.PathOf(pid, *hierarchy);
    if (!found.ok()) return found.status();
    if (*found != "/") return found;
  }
  return path;
}

std::vector<std::string> MountedCgroups::HomesOf(pid_t pid) const {
  std::vector<std::string> homes;
  for (const CgroupTree::Hierarchy& hierarchy : tree_.hierarchies()) {
    absl::StatusOr<std::string> path = tree_.PathOf(pid, hierarchy);
    if (!path.ok() || std::find(homes.begin(), homes.end(), *path) != homes.end()) continue;
    homes.push_back(std::move(*path));
  }
  return homes;
}

// On a hybrid host the v2 group only tells metrics apart; the freezer is v1's.
void MountedCgroups::AttachForMetrics(const std::string& cgroup, pid_t pid) {
  const CgroupTree::Hierarchy* v2 = tree_.V2();
  if (tree_.mode() != "hybrid" || v2 == tree_.For("freezer")) return;
  const std::string directory = CgroupTree::Directory(*v2, cgroup);
  if (::access(directory.c_str(), F_OK) != 0) return;
  std::ofstream procs(directory + "/cgroup.procs");
  procs << pid << std::flush;
}

}  // namespace faultline
