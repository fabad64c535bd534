// SPDX-License-Identifier: Apache-2.0
#include "injector/host/text_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace faultline {

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

absl::Status WriteText(const std::string& path, const std::string& text) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus(errno, absl::StrCat("open ", path));
  const ssize_t written = ::write(fd, text.data(), text.size());
  const int error = written < 0 ? errno : 0;
  ::close(fd);
  return ErrnoStatus(error, absl::StrCat("write ", text, " to ", path));
}

}  // namespace faultline
