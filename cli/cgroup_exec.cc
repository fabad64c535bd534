// SPDX-License-Identifier: Apache-2.0
#include "cli/cgroup_exec.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "base/systemd.h"
#include "cli/systemd_scope.h"

namespace faultline::cli {
namespace {

std::string ReadText(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

// cgroup files take a value whole, in one write.
int WriteText(const std::string& path, absl::string_view text) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return errno;
  const ssize_t written = ::write(fd, text.data(), text.size());
  const int error = written < 0 ? errno : 0;
  ::close(fd);
  return error;
}

std::vector<std::string> Words(const std::string& path) {
  return absl::StrSplit(ReadText(path), absl::ByAnyChar(" \n"), absl::SkipEmpty());
}

bool Has(const std::vector<std::string>& words, absl::string_view word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

// A named v1 hierarchy has no controller and belongs to whoever named it.
bool IsNamed(const CgroupTree::Hierarchy& hierarchy) {
  return !hierarchy.v2 && !hierarchy.controllers.empty() &&
         absl::StartsWith(hierarchy.controllers.front(), "name=");
}

// A v1 cpuset starts empty and takes no process until it has CPUs and memory nodes; a v2 one
// inherits.
void FillCpuset(const std::string& parent, const std::string& dir) {
  for (const char* file : {"/cpuset.cpus", "/cpuset.mems"}) {
    if (!Words(dir + file).empty()) continue;
    const std::string value = ReadText(parent + file);
    if (!value.empty()) WriteText(dir + file, absl::StripAsciiWhitespace(value));
  }
}

// Gives the children of v2 group `parent` the controllers that faults and metrics need.
void EnableControllers(const std::string& parent, std::vector<std::string>* notes) {
  const std::vector<std::string> offered = Words(parent + "/cgroup.controllers");
  const std::vector<std::string> enabled = Words(parent + "/cgroup.subtree_control");
  for (absl::string_view controller : {"cpu", "memory", "io", "pids", "cpuset"}) {
    if (!Has(offered, controller) || Has(enabled, controller)) continue;
    const int error = WriteText(parent + "/cgroup.subtree_control", absl::StrCat("+", controller));
    if (error != 0) {
      notes->push_back(absl::StrCat(
          ErrnoStatus(error, absl::StrCat("controller ", controller, " of ", parent)).message()));
    }
  }
}

absl::Status ValidateName(absl::string_view name) {
  if (name.empty()) {
    return absl::InvalidArgumentError("the control group has no name; write one, like web");
  }
  // Not ours to forbid, but what stands there then is a forgotten name.
  if (absl::StartsWith(name, "-")) {
    return absl::InvalidArgumentError(
        absl::StrCat("control group name \"", name, "\" looks like an option; write one like web"));
  }
  for (const char c : name) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && !absl::StrContains("._-/", c)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "control group name \"", name, "\": only letters, digits, '.', '_', '-' and '/'"));
    }
  }
  return CgroupTree::ValidatePath(absl::StrCat("/", name));
}

// A name under which the kernel keeps something else, like "tasks".
absl::Status NoFileInTheWay(const CgroupTree::Hierarchy& hierarchy, absl::string_view name) {
  std::string path = hierarchy.mount;
  for (absl::string_view part : absl::StrSplit(name, '/')) {
    absl::StrAppend(&path, "/", part);
    struct stat info {};
    if (::lstat(path.c_str(), &info) != 0) return absl::OkStatus();
    if (!S_ISDIR(info.st_mode)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "\"", name, "\" cannot name a control group: ", path, " is a file; choose another name"));
    }
  }
  return absl::OkStatus();
}

// A group that exists is somebody's, unless nothing lives in it: then it is a leftover.
absl::Status NobodysGroup(const std::string& dir, absl::string_view path) {
  std::error_code error;
  if (!std::filesystem::exists(dir, error)) return absl::OkStatus();
  const auto taken = [&](absl::string_view why) {
    return absl::FailedPreconditionError(absl::StrCat("control group ", path,
                                                      " exists and is in use (", dir, " ", why,
                                                      "); choose another name"));
  };
  for (std::filesystem::directory_iterator entry(dir, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->is_directory(error)) return taken("holds other groups");
  }
  // Reading the list of a threaded v2 group fails (EOPNOTSUPP): it has an owner, too.
  std::ifstream procs(dir + "/cgroup.procs");
  std::string line;
  if (error || !procs) return taken("cannot be read");
  if (std::getline(procs, line)) return taken("holds processes");
  return procs.eof() ? absl::OkStatus() : taken("cannot be read");
}

}  // namespace

absl::StatusOr<std::unique_ptr<ExecGroup>> ExecGroup::Create(const CgroupTree& tree,
                                                             const std::string& name) {
  const std::string plain(absl::StripPrefix(name, "/"));
  absl::Status status = ValidateName(plain);
  if (!status.ok()) return status;
  std::unique_ptr<ExecGroup> group(new ExecGroup(plain));
  if (SystemdRuns()) {
    group->systemd_ = true;
    return group;
  }
  status = group->Prepare(tree);
  if (!status.ok()) return status;
  return group;
}

absl::Status ExecGroup::Prepare(const CgroupTree& tree) {
  // All of it before the first change, in the named hierarchies too: a group there has an owner.
  for (const CgroupTree::Hierarchy& hierarchy : tree.hierarchies()) {
    absl::Status free = NoFileInTheWay(hierarchy, name_);
    if (free.ok()) free = NobodysGroup(CgroupTree::Directory(hierarchy, path_), path_);
    if (!free.ok()) return free;
  }
  for (const CgroupTree::Hierarchy& hierarchy : tree.hierarchies()) {
    if (IsNamed(hierarchy)) continue;
    const absl::Status status = MakeIn(hierarchy);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status ExecGroup::MakeIn(const CgroupTree::Hierarchy& hierarchy) {
  std::string dir = hierarchy.mount;
  for (absl::string_view part : absl::StrSplit(name_, '/')) {
    if (hierarchy.v2) EnableControllers(dir, &notes_);
    absl::StrAppend(&dir, "/", part);
    const absl::Status status = MakeDirectory(hierarchy, dir);
    if (!status.ok()) return status;
  }
  const std::string procs = dir + "/cgroup.procs";
  const int fd = ::open(procs.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus(errno, "open " + procs);
  join_.push_back(fd);
  return absl::OkStatus();
}

absl::Status ExecGroup::MakeDirectory(const CgroupTree::Hierarchy& hierarchy,
                                      const std::string& dir) {
  if (::mkdir(dir.c_str(), 0755) != 0) {
    if (errno != EEXIST) return ErrnoStatus(errno, "make control group " + dir);
    // A group above ours is somebody's; ours is a leftover, which may never have had CPUs.
    if (dir != CgroupTree::Directory(hierarchy, "/" + name_)) return absl::OkStatus();
  } else {
    made_.push_back(dir);
  }
  if (!hierarchy.v2 && Has(hierarchy.controllers, "cpuset")) {
    FillCpuset(dir.substr(0, dir.rfind('/')), dir);
  }
  return absl::OkStatus();
}

ExecGroup::~ExecGroup() {
  const absl::Status status = Remove(absl::ZeroDuration());
  status.IgnoreError();
  for (const int fd : join_) ::close(fd);
}

absl::StatusOr<Process> ExecGroup::Start(SpawnSpec spec) {
  spec.join.insert(spec.join.end(), join_.begin(), join_.end());
  spec.gated = systemd_;
  absl::StatusOr<Process> process = Process::Spawn(spec);
  if (!process.ok()) return process;
  if (systemd_) {
    absl::StatusOr<std::string> path = MoveToScope(name_, process->pid());
    if (!path.ok()) {
      process->End(absl::ZeroDuration());
      return path.status();
    }
    path_ = *std::move(path);
    process->Release();
  }
  const absl::Status started = process->AwaitExec();
  if (!started.ok()) return started;
  return process;
}

absl::Status ExecGroup::Remove(absl::Duration bound) {
  // systemd removes a scope when its last process has left.
  const absl::Time deadline = absl::Now() + bound;
  while (!made_.empty()) {
    if (::rmdir(made_.back().c_str()) == 0 || errno == ENOENT) {
      made_.pop_back();
    } else if (errno != EBUSY) {
      return ErrnoStatus(errno, "remove control group " + made_.back());
    } else if (absl::Now() < deadline) {
      // A process that has just ended leaves its group a moment later.
      absl::SleepFor(absl::Milliseconds(10));
    } else {
      return absl::FailedPreconditionError(absl::StrCat(
          "control group ", path_, " still holds processes or groups; ", made_.back(), " stays"));
    }
  }
  return absl::OkStatus();
}

}  // namespace faultline::cli
