// SPDX-License-Identifier: Apache-2.0
#include "injector/halt.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <fstream>
#include <sstream>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "base/sync.h"

namespace faultline {
HaltLatch::HaltLatch(std::string path) : path_(std::move(path)) {
  if (::access(path_.c_str(), F_OK) != 0 && errno == ENOENT) return;
  engaged_ = true;
  std::ifstream in(path_);
  std::ostringstream text;
  text << in.rdbuf();
  reason_ = std::string(absl::StripAsciiWhitespace(text.str()));
  if (!in || reason_.empty()) reason_ = absl::StrCat("the halt file ", path_, " has no text");
}

void HaltLatch::Engage(const std::string& reason) {
  engaged_ = true;
  reason_ = reason;
}

// A new file in the place of the old one: a power cut leaves either.
absl::Status HaltLatch::Keep() const {
  const std::string fresh = path_ + ".new";
  {
    std::ofstream out(fresh, std::ios::trunc);
    out << reason_ << '\n';
    out.close();
    if (!out) return absl::ResourceExhaustedError(absl::StrCat("write ", fresh));
  }
  if (absl::Status status = SyncPath(fresh); !status.ok()) return status;
  if (::rename(fresh.c_str(), path_.c_str()) != 0) {
    return ErrnoStatus(errno, absl::StrCat("rename ", fresh));
  }
  return SyncFolderOf(path_);
}

absl::Status HaltLatch::Release() {
  if (::unlink(path_.c_str()) != 0 && errno != ENOENT) {
    return ErrnoStatus(errno, absl::StrCat("remove ", path_));
  }
  engaged_ = false;
  reason_.clear();
  return SyncFolderOf(path_);
}

}  // namespace faultline
