// SPDX-License-Identifier: Apache-2.0
#include "cli/dataset_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "base/sync.h"

namespace faultline::cli {
namespace {

bool IsPlainPart(absl::string_view part) {
  if (part.empty() || part == "." || part == ".." || part.size() > 255) return false;
  for (const char c : part) {
    if (!absl::ascii_isalnum(static_cast<unsigned char>(c)) && c != '.' && c != '_' && c != '-') {
      return false;
    }
  }
  return true;
}

absl::Status WriteAll(int fd, absl::string_view data, const std::string& name) {
  while (!data.empty()) {
    const ssize_t written = ::write(fd, data.data(), data.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoStatus(errno, "write " + name);
    data.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateDatasetPath(absl::string_view path) {
  const std::vector<absl::string_view> parts = absl::StrSplit(path, '/');
  bool valid = parts.size() <= 4;
  for (absl::string_view part : parts) valid = valid && IsPlainPart(part);
  if (valid) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("the collector sent a file named \"", path,
                                                 "\", which no dataset has; nothing is kept"));
}

absl::StatusOr<std::unique_ptr<DatasetWriter>> DatasetWriter::Create(const std::string& dir) {
  std::error_code error;
  const std::filesystem::path target = std::filesystem::absolute(dir, error).lexically_normal();
  // "out/" and "out" are the same place.
  std::string path = target.string();
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  if (std::filesystem::exists(path, error) &&
      (!std::filesystem::is_directory(path, error) || !std::filesystem::is_empty(path, error))) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " exists and is not an empty folder; choose another with --out"));
  }
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  if (error) {
    return ErrnoStatus(error.value(), absl::StrCat("make the folder that holds ", path));
  }
  std::string partial = absl::StrCat(path, ".partial-", ::getpid());
  if (::mkdir(partial.c_str(), 0755) != 0) return ErrnoStatus(errno, "make folder " + partial);
  return std::unique_ptr<DatasetWriter>(new DatasetWriter(path, std::move(partial)));
}

DatasetWriter::~DatasetWriter() {
  if (fd_ >= 0) ::close(fd_);
  std::error_code error;
  if (!finished_) std::filesystem::remove_all(partial_, error);
}

absl::Status DatasetWriter::Open(const std::string& path) {
  const absl::Status valid = ValidateDatasetPath(path);
  if (!valid.ok()) return valid;
  if (!files_.insert(path).second) {
    return absl::InvalidArgumentError(absl::StrCat("the collector sent ", path, " twice"));
  }
  const std::string full = absl::StrCat(partial_, "/", path);
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(full).parent_path(), error);
  if (error) return ErrnoStatus(error.value(), "make the folder of " + full);
  // Nobody else writes here; O_EXCL and O_NOFOLLOW keep it so.
  fd_ = ::open(full.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (fd_ < 0) return ErrnoStatus(errno, "make file " + full);
  current_ = path;
  return absl::OkStatus();
}

absl::Status DatasetWriter::Close() {
  if (fd_ < 0) return absl::OkStatus();
  const int synced = ::fsync(fd_);
  const int error = errno;
  ::close(fd_);
  fd_ = -1;
  return synced == 0 ? absl::OkStatus() : ErrnoStatus(error, "sync " + current_);
}

absl::Status DatasetWriter::Write(const v1::ExportChunk& chunk) {
  if (chunk.path().empty()) return absl::OkStatus();
  if (chunk.path() != current_) {
    absl::Status status = Close();
    if (status.ok()) status = Open(chunk.path());
    if (!status.ok()) return status;
  }
  return WriteAll(fd_, chunk.data(), current_);
}

absl::Status DatasetWriter::Finish() {
  absl::Status status = Close();
  if (status.ok()) status = SyncPath(partial_);
  if (!status.ok()) return status;
  // Replaces an empty folder in one step; fails if somebody has put something into it meanwhile.
  if (std::rename(partial_.c_str(), dir_.c_str()) != 0) {
    return ErrnoStatus(errno, absl::StrCat("rename ", partial_, " to ", dir_));
  }
  finished_ = true;
  return SyncFolderOf(dir_);
}

}  // namespace faultline::cli
