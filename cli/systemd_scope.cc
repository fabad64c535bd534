// SPDX-License-Identifier: Apache-2.0
#include "cli/systemd_scope.h"

#include <systemd/sd-bus.h>
#include <systemd/sd-daemon.h>

#include <fstream>
#include <memory>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "base/status.h"

namespace faultline::cli {
namespace {

struct BusCloser {
  void operator()(sd_bus* bus) const { sd_bus_flush_close_unref(bus); }
};

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

bool SystemdRuns() { return sd_booted() > 0; }

absl::StatusOr<std::string> MoveToScope(const std::string& name, pid_t pid) {
  sd_bus* opened = nullptr;
  int result = sd_bus_open_system(&opened);
  if (result < 0) return ErrnoStatus(-result, "connect to the system bus");
  const std::unique_ptr<sd_bus, BusCloser> bus(opened);
  const std::string flat = absl::StrReplaceAll(name, {{"/", "-"}});
  const std::string unit =
      absl::StrCat(absl::StartsWith(flat, "faultline-") ? "" : "faultline-", flat, ".scope");
  sd_bus_error error = SD_BUS_ERROR_NULL;
  result = sd_bus_call_method(bus.get(), "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
                              "org.freedesktop.systemd1.Manager", "StartTransientUnit", &error,
                              nullptr, "ssa(sv)a(sa(sv))", unit.c_str(), "fail", 3, "Description",
                              "s", "Command started by faultline exec", "Delegate", "b", 1, "PIDs",
                              "au", 1, static_cast<std::uint32_t>(pid), 0);
  const std::string why = error.message == nullptr ? "" : error.message;
  sd_bus_error_free(&error);
  if (result < 0) {
    const absl::Status status = ErrnoStatus(-result, "start scope " + unit);
    return absl::Status(status.code(), why.empty() ? std::string(status.message())
                                                   : absl::StrCat("start scope ", unit, ": ", why));
  }
  // The call returns when the job is queued; the process's own view tells when it is done.
  const absl::Time deadline = absl::Now() + absl::Seconds(5);
  while (absl::Now() < deadline) {
    std::string path = PathIn(unit, pid);
    if (!path.empty()) return path;
    absl::SleepFor(absl::Milliseconds(5));
  }
  return absl::DeadlineExceededError(
      absl::StrCat("systemd did not move the process into ", unit, " within 5 s"));
}

}  // namespace faultline::cli
