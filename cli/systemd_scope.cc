// SPDX-License-Identifier: Apache-2.0
#include "cli/systemd_scope.h"

#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "base/systemd.h"

namespace faultline::cli {
namespace {

// Of the connection and of the scope: systemd may be busy with a reload.
constexpr absl::Duration kPatience = absl::Seconds(5);

// The first group of `pid` whose path ends with `unit`.
std::string PathIn(const std::string& unit, pid_t pid) {
  std::ifstream in(absl::StrCat("/proc/", pid, "/cgroup"));
  std::string line;
  while (std::getline(in, line)) {
    // "ID:controllers:path"
    const size_t path = line.find(':', line.find(':') + 1);
    if (absl::EndsWith(line, "/" + unit)) return line.substr(path + 1);
  }
  return "";
}

}  // namespace

absl::StatusOr<std::string> MoveToScope(const std::string& name, pid_t pid) {
  absl::StatusOr<SystemdBus> bus = ConnectSystemd(kPatience);
  if (!bus.ok()) return bus.status();
  const std::string flat = absl::StrReplaceAll(name, {{"/", "-"}});
  const std::string unit =
      absl::StrCat(absl::StartsWith(flat, "faultline-") ? "" : "faultline-", flat, ".scope");
  sd_bus_error error = SD_BUS_ERROR_NULL;
  const int result =
      sd_bus_call_method(bus->get(), kSystemdName, kSystemdPath, kSystemdManager,
                         "StartTransientUnit", &error, nullptr, "ssa(sv)a(sa(sv))", unit.c_str(),
                         "fail", 3, "Description", "s", "Command started by faultline exec",
                         "Delegate", "b", 1, "PIDs", "au", 1, static_cast<std::uint32_t>(pid), 0);
  const absl::Status started = SystemdStatus(result, &error, "start scope " + unit);
  if (!started.ok()) return started;
  // The call returns when the job is queued; the process's own view tells when it is done.
  const absl::Time deadline = absl::Now() + kPatience;
  while (absl::Now() < deadline) {
    std::string path = PathIn(unit, pid);
    if (!path.empty()) return path;
    absl::SleepFor(absl::Milliseconds(5));
  }
  return absl::DeadlineExceededError(
      absl::StrCat("systemd did not move the process into ", unit, " within 5 s"));
}

}  // namespace faultline::cli
