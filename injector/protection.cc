// SPDX-License-Identifier: Apache-2.0
#include "injector/protection.h"

#include <algorithm>
#include <array>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "injector/guard.h"

namespace faultline {
namespace {

// Templates of sshd live in a slice of their own: the sessions of a host that starts it by socket.
constexpr std::array kProtectedUnits{"init.scope",
                                     "ssh.service",
                                     "sshd.service",
                                     "system-ssh.slice",
                                     "system-sshd.slice",
                                     "dropbear.service",
                                     "systemd-journald.service",
                                     "systemd-logind.service",
                                     "dbus.service",
                                     "dbus-broker.service",
                                     "faultline-agent.service",
                                     "faultline-injector.service",
                                     "faultline-collector.service",
                                     "faultline-undo-keeper.service",
                                     "faultline-undo-boot.service"};

// As /proc/PID/comm has them, which cuts names to 15 bytes.
constexpr std::array kProtectedPrograms{
    "sshd",           "dropbear", "systemd-journal", "dbus-daemon",     "dbus-broker",
    "systemd-logind", "elogind",  "faultline-agent", "faultline-colle", "faultline-injec"};

std::string ProgramOf(const std::string& process) {
  std::ifstream comm(process + "/comm");
  std::string name;
  std::getline(comm, name);
  return name;
}

absl::Status RefuseGroup(const std::string& cgroup, const std::string& kept,
                         const std::string& what) {
  const char* how = cgroup == kept           ? " is the group"
                    : IsWithin(cgroup, kept) ? " lies in that"
                                             : " holds that";
  return absl::FailedPreconditionError(
      absl::StrCat("control group ", cgroup, how, " of ", what, cgroup == kept ? "" : ", ",
                   cgroup == kept ? "" : kept, ", which no fault may touch; name one outside"));
}

}  // namespace

std::vector<std::string> Protection::units() const {
  std::vector<std::string> units(kProtectedUnits.begin(), kProtectedUnits.end());
  units.insert(units.end(), units_.begin(), units_.end());
  return units;
}

absl::Status Protection::Check(const Lookup& lookup, const std::string& cgroup) const {
  const std::vector<std::string> names = units();
  const absl::StatusOr<std::vector<std::string>> groups = lookup.unit_groups(names);
  // systemd does not run here.
  if (absl::IsFailedPrecondition(groups.status())) return CheckProcesses(lookup, cgroup);
  if (!groups.ok()) {
    return WithContext(groups.status(), "where the protected units run cannot be told");
  }
  for (size_t i = 0; i < names.size(); ++i) {
    const std::string& kept = groups->at(i);
    // It does not run, or is in the root, which no fault takes.
    if (kept.empty() || kept == "/") continue;
    if (IsWithin(kept, cgroup) || IsWithin(cgroup, kept)) {
      return RefuseGroup(cgroup, kept, absl::StrCat("unit ", names[i]));
    }
  }
  return absl::OkStatus();
}

absl::Status Protection::CheckProcesses(const Lookup& lookup, const std::string& cgroup) const {
  for (const pid_t pid : lookup.members(cgroup)) {
    const std::string program = ProgramOf(absl::StrCat(proc_, "/", pid));
    if (std::find(kProtectedPrograms.begin(), kProtectedPrograms.end(), program) ==
        kProtectedPrograms.end())
      continue;
    v1::Target target;
    target.set_pid(pid);
    // It may be in another group of a hierarchy that is not the main one.
    const absl::StatusOr<std::string> home = lookup.resolve(target);
    const std::string& kept = home.ok() && IsWithin(*home, cgroup) ? *home : cgroup;
    return RefuseGroup(cgroup, kept, absl::StrCat("process ", pid, " (", program, ")"));
  }
  return absl::OkStatus();
}

}  // namespace faultline
