// SPDX-License-Identifier: Apache-2.0
#include "injector/host_readings.h"

#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status.h"
#include "injector/meminfo.h"

namespace faultline {
namespace {

// Beyond these a sensor is broken, or is none of a temperature.
constexpr double kColdest = -60;
constexpr double kHottest = 200;

absl::StatusOr<std::string> ReadKernelFile(const std::string& path) {
  std::ifstream file(path);
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  // A kernel that was booted without pressure has the files, and reading them fails.
  if (!file.is_open() || text.empty()) {
    return absl::NotFoundError(absl::StrCat(path, " tells nothing on this host"));
  }
  return text;
}

absl::StatusOr<double> FirstNumber(const std::string& path, absl::string_view text) {
  double number = 0;
  const std::vector<absl::string_view> words =
      absl::StrSplit(text, absl::ByAnyChar(" \n"), absl::SkipEmpty());
  if (!words.empty() && absl::SimpleAtod(words[0], &number)) return number;
  return absl::NotFoundError(absl::StrCat(path, " begins with no number"));
}

}  // namespace

absl::StatusOr<double> RealHostReadings::Pressure(absl::string_view what) {
  const std::string path = absl::StrCat(proc_, "/pressure/", what);
  const absl::StatusOr<std::string> text = ReadKernelFile(path);
  if (!text.ok()) return text.status();
  for (absl::string_view line : absl::StrSplit(*text, '\n')) {
    if (absl::ConsumePrefix(&line, "some avg10=")) return FirstNumber(path, line);
  }
  return absl::NotFoundError(absl::StrCat(path, " has no line of some avg10"));
}

absl::StatusOr<Amounts> RealHostReadings::Memory() {
  const std::string path = proc_ + "/meminfo";
  const absl::StatusOr<std::string> text = ReadKernelFile(path);
  if (!text.ok()) return text.status();
  const std::int64_t total = MeminfoBytes(*text, "MemTotal:");
  const std::int64_t available = MeminfoBytes(*text, "MemAvailable:");
  if (total >= 0 && available >= 0) return Amounts{total, available};
  return absl::NotFoundError(absl::StrCat(path, " shows no MemTotal or no MemAvailable"));
}

absl::StatusOr<double> RealHostReadings::Temperature() {
  std::optional<double> hottest;
  std::error_code error;
  for (const auto& zone : std::filesystem::directory_iterator(sys_ + "/class/thermal", error)) {
    if (zone.path().filename().string().rfind("thermal_zone", 0) != 0) continue;
    // Some sensors sleep, and then cannot be read.
    const std::string path = (zone.path() / "temp").string();
    const absl::StatusOr<std::string> text = ReadKernelFile(path);
    const absl::StatusOr<double> milli = text.ok() ? FirstNumber(path, *text) : text.status();
    if (!milli.ok() || *milli < kColdest * 1000 || *milli > kHottest * 1000) continue;
    hottest = std::max(hottest.value_or(*milli), *milli);
  }
  if (hottest.has_value()) return *hottest / 1000;
  return absl::NotFoundError("this host has no thermal zone that tells a temperature");
}

absl::StatusOr<double> RealHostReadings::LoadPerCpu() {
  const std::string path = proc_ + "/loadavg";
  const absl::StatusOr<std::string> text = ReadKernelFile(path);
  if (!text.ok()) return text.status();
  const absl::StatusOr<double> load = FirstNumber(path, *text);
  if (!load.ok()) return load;
  return *load / static_cast<double>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
}

absl::StatusOr<Amounts> RealHostReadings::Disk() {
  struct statvfs info {};
  if (::statvfs(state_dir_.c_str(), &info) != 0) {
    return ErrnoStatus(errno, absl::StrCat("look at the file system of ", state_dir_));
  }
  // Of the kernel's own: without a size.
  if (info.f_blocks == 0) {
    return absl::NotFoundError(absl::StrCat("the file system of ", state_dir_, " has no size"));
  }
  const auto block = static_cast<std::int64_t>(info.f_frsize);
  return Amounts{static_cast<std::int64_t>(info.f_blocks) * block,
                 static_cast<std::int64_t>(info.f_bavail) * block};
}

}  // namespace faultline
