// SPDX-License-Identifier: Apache-2.0
#include "base/sync.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace faultline {

absl::Status SyncPath(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ErrnoStatus(errno, absl::StrCat("open ", path));
  const int error = ::fsync(fd) == 0 ? 0 : errno;
  ::close(fd);
  return ErrnoStatus(error, absl::StrCat("sync ", path));
}

absl::Status SyncFolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return SyncPath(slash == std::string::npos ? "." : path.substr(0, slash + 1));
}

}  // namespace faultline
