// SPDX-License-Identifier: Apache-2.0
#include "injector/host/blocks.h"

#include <filesystem>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "injector/host/text_file.h"

namespace faultline {

absl::StatusOr<BlockDevice> SysBlocks::Named(const std::string& device) const {
  absl::string_view name = device;
  absl::ConsumePrefix(&name, "/dev/");
  // sysfs writes a '/' of a name so.
  const std::string entry = absl::StrReplaceAll(name, {{"/", "!"}});
  if (entry.empty() || entry == "." || entry == "..") {
    return absl::InvalidArgumentError(absl::StrCat(
        "\"", device, "\" is no block device: give its name, like vda, or its number, like 8:0"));
  }
  const char* folder = absl::StrContains(entry, ':') ? "/dev/block/" : "/class/block/";
  // Links to .../block/DISK, or to .../block/DISK/PARTITION.
  std::error_code error;
  const std::filesystem::path home =
      std::filesystem::canonical(absl::StrCat(sys_, folder, entry), error);
  if (error) {
    return absl::NotFoundError(
        absl::StrCat("there is no block device ", device, " on this host (see `lsblk`)"));
  }
  absl::StatusOr<std::string> number = ReadText(home / "dev");
  if (!number.ok()) return number.status();
  BlockDevice found;
  found.name = home.filename();
  found.number = *number;
  found.partition = std::filesystem::exists(home / "partition", error);
  if (found.partition) found.disk = home.parent_path().filename();
  return found;
}

}  // namespace faultline
