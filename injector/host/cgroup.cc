// SPDX-License-Identifier: Apache-2.0
#include "injector/host/cgroup.h"

#include <fcntl.h>
#include <libcgroup.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/synchronization/mutex.h"
#include "base/status.h"

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

absl::Status WriteText(const std::string& path, const std::string& value) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus(errno, absl::StrCat("open ", path));
  const ssize_t written = ::write(fd, value.data(), value.size());
  const int error = written < 0 ? errno : 0;
  ::close(fd);
  return ErrnoStatus(error, absl::StrCat("write ", value, " to ", path));
}

// What the v2 core itself offers is no controller to libcgroup 2.0.
bool IsCoreFile(const std::string& file) { return absl::StartsWith(file, "cgroup."); }

class Value final : public Lever {
 public:
  Value(const Cgroups* cgroups, std::string controller, std::string file, v1::Change change)
      : cgroups_(cgroups),
        controller_(std::move(controller)),
        file_(std::move(file)),
        change_(std::move(change)) {}

  const v1::Change& change() const override { return change_; }

  absl::Status Apply() override { return Write(change_.after()); }

  absl::Status Verify() override {
    const absl::StatusOr<std::string> now = Read();
    if (absl::IsNotFound(now.status())) return now.status();
    if (!now.ok()) return absl::AbortedError(now.status().message());
    if (*now == change_.after()) return absl::OkStatus();
    return absl::AbortedError(
        absl::StrCat(Name(), " is ", *now, " although the fault set it to ", change_.after()));
  }

  absl::Status Restore() override {
    const absl::StatusOr<std::string> now = Read();
    // Its values went with the group.
    if (absl::IsNotFound(now.status())) return absl::OkStatus();
    if (!now.ok()) return now.status();
    if (*now == change_.before()) return absl::OkStatus();
    if (*now == change_.after()) return Write(change_.before());
    return absl::AbortedError(absl::StrCat(Name(), " is ", *now, ", neither what the fault set (",
                                           change_.after(), ") nor what was there before (",
                                           change_.before(), "): somebody else's, left alone"));
  }

  absl::Status Residue() override {
    const absl::StatusOr<std::string> now = Read();
    if (absl::IsNotFound(now.status())) return absl::OkStatus();
    if (!now.ok()) return now.status();
    if (*now == change_.before()) return absl::OkStatus();
    return absl::FailedPreconditionError(
        absl::StrCat(Name(), " is ", *now, "; before the fault it was ", change_.before()));
  }

 private:
  absl::StatusOr<std::string> Read() const {
    return cgroups_->Read(change_.object(), controller_, file_);
  }
  absl::Status Write(const std::string& value) const {
    return cgroups_->Write(change_.object(), controller_, file_, value);
  }
  std::string Name() const { return absl::StrCat(file_, " of ", change_.object()); }

  const Cgroups* cgroups_;
  const std::string controller_;
  const std::string file_;
  const v1::Change change_;
};

}  // namespace

absl::StatusOr<std::string> ReadWhole(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus(errno, absl::StrCat("open ", path));
  std::string text;
  char buffer[4096];
  ssize_t size = 0;
  while ((size = ::read(fd, buffer, sizeof(buffer))) > 0) {
    text.append(buffer, static_cast<size_t>(size));
  }
  const int error = size < 0 ? errno : 0;
  ::close(fd);
  if (error != 0) return ErrnoStatus(error, absl::StrCat("read ", path));
  return text;
}

absl::StatusOr<std::string> ReadText(const std::string& path) {
  absl::StatusOr<std::string> text = ReadWhole(path);
  if (text.ok()) absl::StripTrailingAsciiWhitespace(&*text);
  return text;
}

absl::StatusOr<std::unique_ptr<Cgroups>> Cgroups::Create(const CgroupTree* tree) {
  const absl::MutexLock lock(&library_mutex);
  absl::Status status = LibraryStatus(cgroup_init(), "start libcgroup");
  if (!status.ok()) return status;
  return std::unique_ptr<Cgroups>(new Cgroups(tree));
}

absl::StatusOr<const CgroupTree::Hierarchy*> Cgroups::HierarchyOf(
    const std::string& controller) const {
  const CgroupTree::Hierarchy* hierarchy = tree_->For(controller);
  if (hierarchy != nullptr) return hierarchy;
  return absl::UnimplementedError(
      absl::StrCat("no mounted control group hierarchy has the ", controller, " controller"));
}

absl::StatusOr<std::string> Cgroups::DirectoryOf(const std::string& cgroup,
                                                 const std::string& controller) const {
  absl::StatusOr<const CgroupTree::Hierarchy*> hierarchy = HierarchyOf(controller);
  if (!hierarchy.ok()) return hierarchy.status();
  std::string directory = CgroupTree::Directory(**hierarchy, cgroup);
  if (::access(directory.c_str(), F_OK) == 0) return directory;
  return absl::NotFoundError(absl::StrCat("control group ", cgroup, " does not exist in the ",
                                          controller, " hierarchy (", (*hierarchy)->mount, ")"));
}

absl::StatusOr<std::string> Cgroups::Read(const std::string& cgroup, const std::string& controller,
                                          const std::string& file) const {
  absl::StatusOr<std::string> directory = DirectoryOf(cgroup, controller);
  if (!directory.ok()) return directory.status();
  absl::StatusOr<std::string> text = ReadText(absl::StrCat(*directory, "/", file));
  // The group went between the two: the file's own ENODEV.
  if (text.ok() || ::access(directory->c_str(), F_OK) == 0) return text;
  return absl::NotFoundError(text.status().message());
}

absl::Status Cgroups::Write(const std::string& cgroup, const std::string& controller,
                            const std::string& file, const std::string& value) const {
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

absl::StatusOr<bool> Cgroups::HasProcess(const std::string& cgroup, const std::string& controller,
                                         pid_t except) const {
  absl::StatusOr<std::string> top = DirectoryOf(cgroup, controller);
  if (!top.ok()) return top.status();
  return HasProcessBelow(*top, except);
}

bool HasProcessBelow(const std::string& directory, pid_t except) {
  const auto has = [&](const std::filesystem::path& folder) {
    absl::StatusOr<std::string> procs = ReadText(folder / "cgroup.procs");
    // EOPNOTSUPP of a threaded v2 group, which lists threads only.
    if (!procs.ok()) procs = ReadText(folder / "cgroup.threads");
    if (!procs.ok()) return false;
    for (absl::string_view line : absl::StrSplit(*procs, '\n', absl::SkipEmpty())) {
      pid_t pid = 0;
      if (absl::SimpleAtoi(line, &pid) && pid != except) return true;
    }
    return false;
  };
  if (has(directory)) return true;
  std::error_code error;
  for (std::filesystem::recursive_directory_iterator at(directory, error), end; !error && at != end;
       at.increment(error)) {
    std::error_code ignored;
    if (at->is_directory(ignored) && has(at->path())) return true;
  }
  return false;
}

absl::Status Cgroups::Attach(const std::string& cgroup, const std::string& controller,
                             pid_t pid) const {
  const absl::MutexLock lock(&library_mutex);
  cgroup_controller* with = nullptr;
  absl::StatusOr<Group> group = MakeGroup(cgroup, controller, &with);
  if (!group.ok()) return group.status();
  return LibraryStatus(cgroup_attach_task_pid(group->get(), pid),
                       absl::StrCat("move process ", pid, " into ", controller, " group ", cgroup));
}

LeverOr Cgroups::ValueLever(const std::string& cgroup, const std::string& controller,
                            const std::string& file, const std::string& value) const {
  absl::StatusOr<std::string> before = Read(cgroup, controller, file);
  if (!before.ok()) return before.status();
  v1::Change change;
  change.set_kind("cgroup_value");
  change.set_object(cgroup);
  change.set_attribute(absl::StrCat(controller, ":", file));
  change.set_before(*before);
  change.set_after(value);
  return std::make_unique<Value>(this, controller, file, std::move(change));
}

LeverOr Cgroups::RecoverValue(const v1::Change& change) const {
  const std::vector<std::string> names =
      absl::StrSplit(change.attribute(), absl::MaxSplits(':', 1));
  if (names.size() != 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("the journal names no controller in \"", change.attribute(), "\""));
  }
  return std::make_unique<Value>(this, names[0], names[1], change);
}

}  // namespace faultline
