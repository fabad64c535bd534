// SPDX-License-Identifier: Apache-2.0
//
// Checks of what a service finds on its own host: disk and configuration.
#include <unistd.h>

#include <array>
#include <cerrno>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "cli/doctor/check.h"
#include "cli/doctor/settings.h"
#include "cli/words.h"

namespace faultline::cli::doctor {
namespace {

// Free space below which a service suffers soon, and below which it does now.
struct Bounds {
  Service service;
  std::int64_t low_bytes;
  std::int64_t least_bytes;
};
constexpr std::int64_t kMib = std::int64_t{1} << 20;
// The injector's journal is small, but no fault starts without it; the collector's store grows with
// every sample.
constexpr std::array<Bounds, 2> kBounds{{
    {kInjector, 64 * kMib, 8 * kMib},
    {kCollector, 1024 * kMib, 64 * kMib},
}};

// Not for the injector: the units that undo, and the removal of its package, look for the journal
// where it is by default.
constexpr char kElsewhere[] =
    ", or give faultline-collector another --state-dir, for which its service needs "
    "ReadWritePaths=DIR as well: `faultline-collector --help` says how";

// `path` or the nearest folder above it that this user can see.
std::string Nearest(std::string path) {
  while (path.size() > 1 && ::access(path.c_str(), F_OK) != 0) {
    const size_t slash = path.rfind('/');
    path = slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
  }
  return path;
}

std::string ProgramName(const Check& check) {
  return absl::StrCat("faultline-", ServiceWords(check.services).front());
}

}  // namespace

Verdict DiskSpace(const Site& site, const Check& check) {
  const std::string elsewhere = ServiceOf(check) == kCollector ? kElsewhere : "";
  const std::string make_room = check.fix + elsewhere;
  const std::string wanted = SettingsOf(site, ServiceOf(check)).state_dir;
  const std::string dir = Nearest(wanted);
  const absl::StatusOr<Space> space = site.trials->SpaceOf(dir);
  if (!space.ok()) return {check.failed, std::string(space.status().message()), make_room};
  Bounds bounds{};
  for (const Bounds& each : kBounds) {
    if (each.service == ServiceOf(check)) bounds = each;
  }
  const std::string found =
      absl::StrCat(AmountText(static_cast<double>(space->free_bytes), "By"), " free of ",
                   AmountText(static_cast<double>(space->total_bytes), "By"), " in ", dir,
                   dir == wanted ? "" : absl::StrCat(", where ", wanted, " will be made"));
  if (space->read_only) {
    return {State::kFail, absl::StrCat(dir, " is on a file system that is mounted read-only"),
            absl::StrCat("`mount -o remount,rw $(findmnt -no TARGET -T ", dir, ")`", elsewhere)};
  }
  if (space->out_of_inodes) {
    return {State::kFail, absl::StrCat(found, ", and no file can be made: no inode is left"),
            make_room};
  }
  if (space->free_bytes < bounds.least_bytes) return {State::kFail, found, make_room};
  if (space->free_bytes < bounds.low_bytes) return {State::kWarn, found, make_room};
  return {State::kOk, found, ""};
}

// The file is its program's business: it alone says whether it is good.
Verdict Configuration(const Site& site, const Check& check) {
  const Settings settings = SettingsOf(site, ServiceOf(check));
  const std::string& file = settings.file;
  const std::string name = ProgramName(check);
  const auto program = site.programs.find(ServiceOf(check));
  if (program == site.programs.end()) {
    return {State::kSkipped, absl::StrCat(name, " is not installed here"),
            // It is in no archive: apt takes it from its file alone.
            absl::StrCat("`apt install ./", name, "_*.deb` where that file is")};
  }
  if (::access(file.c_str(), F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR)) {
    // The unit names the file; by hand a program runs without one.
    const std::string unit = absl::StrCat(site.root, "/lib/systemd/system/", name, ".service");
    const bool service = ::access(unit.c_str(), F_OK) == 0;
    return {service ? check.failed : State::kWarn,
            absl::StrCat(file, " does not exist",
                         service ? ", and the service does not start without it"
                                 : absl::StrCat(": ", name, " has its defaults")),
            absl::StrCat("`mkdir -p ", site.config_dir, " && ", program->second,
                         " --sample-config > ", file, "` makes it as it is in the package")};
  }
  if (::access(file.c_str(), R_OK) != 0) {
    return {State::kSkipped, absl::StrCat("you may not read ", file), kAsRoot};
  }
  if (const absl::Status status = CheckReadable(site, settings, file); !status.ok()) {
    return {check.failed, std::string(status.message()),
            absl::StrCat("it holds no secret: `chmod 644 ", file, "`, and 755 its folder")};
  }
  const absl::StatusOr<ProgramEnd> ended =
      site.trials->Run({program->second, "--check-config", "--config", file});
  if (!ended.ok()) return {check.failed, std::string(ended.status().message()), check.fix};
  if (ended->status == 0) return {State::kOk, absl::StrCat(file, " is good, says ", name), ""};
  return {check.failed,
          ended->said.empty() ? absl::StrCat(name, " --check-config ended with ", ended->status)
                              : std::string(absl::StripPrefix(ended->said, "error: ")),
          absl::StrCat("mend it, `", program->second, " --sample-config` shows all it may hold; ",
                       "look again: `", program->second, " --check-config --config ", file, "`")};
}

}  // namespace faultline::cli::doctor
