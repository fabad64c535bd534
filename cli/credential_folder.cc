// SPDX-License-Identifier: Apache-2.0
#include "cli/credential_folder.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>

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

}  // namespace

absl::Status WriteCredentialFolder(const std::string& folder,
                                   const std::map<std::string, std::string>& files, bool replace) {
  std::string made = absl::StrCat(folder, ".XXXXXX");
  if (::mkdtemp(made.data()) == nullptr) return ErrnoStatus(errno, absl::StrCat("making ", folder));
  absl::Status status;
  for (const auto& [name, content] : files) {
    if (!status.ok()) break;
    status = WriteFile(absl::StrCat(made, "/", name), content,
                       absl::EndsWith(name, "key.pem") ? 0600 : 0644);
  }
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
