// SPDX-License-Identifier: Apache-2.0
#include "cli/credential_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace faultline::cli {
namespace {

constexpr size_t kMaxFileBytes = 1 << 20;

// The umask plays no part: a key is closed and a certificate open whatever it is.
absl::Status WriteFile(const std::string& path, const std::string& content, mode_t mode) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return ErrnoStatus(errno, absl::StrCat("creating ", path));
  // Some hundred bytes to a regular file: less is a full disk.
  const ssize_t written = ::write(fd, content.data(), content.size());
  absl::Status status;
  if (written != static_cast<ssize_t>(content.size())) {
    status = ErrnoStatus(written < 0 ? errno : ENOSPC, absl::StrCat("writing ", path));
  } else if (::fchmod(fd, mode) != 0 || ::fsync(fd) != 0) {
    status = ErrnoStatus(errno, absl::StrCat("writing ", path));
  }
  ::close(fd);
  return status;
}

void Remove(const std::string& folder, const std::map<std::string, std::string>& files) {
  for (const auto& [name, content] : files) ::unlink(absl::StrCat(folder, "/", name).c_str());
  ::rmdir(folder.c_str());
}

absl::Status Place(const std::string& made, const std::string& folder, bool replace) {
  if (::renameat2(AT_FDCWD, made.c_str(), AT_FDCWD, folder.c_str(), RENAME_NOREPLACE) == 0) {
    return absl::OkStatus();
  }
  if (errno != EEXIST || !replace) return ErrnoStatus(errno, folder);
  if (::renameat2(AT_FDCWD, made.c_str(), AT_FDCWD, folder.c_str(), RENAME_EXCHANGE) == 0) {
    return absl::OkStatus();
  }
  return ErrnoStatus(errno, absl::StrCat("replacing ", folder));
}

bool IsKey(const std::string& name) { return absl::EndsWith(name, "key.pem"); }

// What else stands in `folder` would go with it.
absl::Status CheckAlone(const std::string& folder,
                        const std::map<std::string, std::string>& files) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename();
    if (files.count(name) == 1) continue;
    return absl::FailedPreconditionError(
        absl::StrCat(folder, " holds ", name,
                     " as well, which is no part of a certificate's folder: move it away first"));
  }
  return absl::OkStatus();
}

absl::Status TakeOver(const std::string& path, const struct stat& from, mode_t mode) {
  struct stat now {};
  if (::stat(path.c_str(), &now) != 0) return ErrnoStatus(errno, path);
  const bool same = now.st_uid == from.st_uid && now.st_gid == from.st_gid;
  if ((!same && ::chown(path.c_str(), from.st_uid, from.st_gid) != 0) ||
      ::chmod(path.c_str(), mode) != 0) {
    return ErrnoStatus(errno, absl::StrCat("giving ", path, " to the owner of the old one"));
  }
  return absl::OkStatus();
}

// Who could read the old folder can read the new one: owners and modes are those of the old files,
// for a file that was not there the folder's owner.
absl::Status TakeOverAll(const std::string& made, const std::string& folder,
                         const std::map<std::string, std::string>& files) {
  struct stat old {};
  if (::stat(folder.c_str(), &old) != 0) return absl::OkStatus();
  for (const auto& [name, content] : files) {
    const std::string path = absl::StrCat(made, "/", name);
    struct stat file {};
    mode_t mode = IsKey(name) ? 0600 : 0644;
    const bool there = ::stat(absl::StrCat(folder, "/", name).c_str(), &file) == 0;
    if (there) mode = file.st_mode & (IsKey(name) ? 0770U : 0777U);
    const absl::Status status = TakeOver(path, there ? file : old, mode);
    if (!status.ok()) return status;
  }
  return TakeOver(made, old, old.st_mode & 07777U);
}

}  // namespace

absl::Status WriteCredentialFolder(const std::string& folder,
                                   const std::map<std::string, std::string>& files, bool replace) {
  if (replace) {
    if (absl::Status status = CheckAlone(folder, files); !status.ok()) return status;
  }
  std::string made = absl::StrCat(folder, ".XXXXXX");
  if (::mkdtemp(made.data()) == nullptr) return ErrnoStatus(errno, absl::StrCat("making ", folder));
  absl::Status status;
  for (const auto& [name, content] : files) {
    if (!status.ok()) break;
    status = WriteFile(absl::StrCat(made, "/", name), content, IsKey(name) ? 0600 : 0644);
  }
  if (status.ok() && replace) status = TakeOverAll(made, folder, files);
  if (status.ok()) status = Place(made, folder, replace);
  // What is there now is what was replaced, or what could not be placed.
  Remove(made, files);
  return status;
}

absl::StatusOr<std::string> ReadSmallFile(const std::string& path) {
  std::FILE* const file = std::fopen(path.c_str(), "re");
  if (file == nullptr) return ErrnoStatus(errno, absl::StrCat("opening ", path));
  std::string content;
  std::array<char, 4096> piece{};
  while (content.size() < kMaxFileBytes) {
    const size_t size = std::fread(piece.data(), 1, piece.size(), file);
    if (size == 0) break;
    content.append(piece.data(), size);
  }
  std::fclose(file);
  return content;
}

}  // namespace faultline::cli
