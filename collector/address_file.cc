// SPDX-License-Identifier: Apache-2.0
#include "collector/address_file.h"

#include <cerrno>
#include <cstdio>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace faultline {

absl::Status WriteAddressFile(const std::string& path, const std::string& address) {
  if (path.empty()) return absl::OkStatus();
  const std::string part = absl::StrCat(path, ".part");
  {
    std::ofstream file(part, std::ios::trunc);
    file << address << '\n';
    if (!file.flush()) return ErrnoStatus(errno, absl::StrCat("write ", part));
  }
  if (std::rename(part.c_str(), path.c_str()) != 0) {
    return ErrnoStatus(errno, absl::StrCat("rename to ", path));
  }
  return absl::OkStatus();
}

}  // namespace faultline
