// SPDX-License-Identifier: Apache-2.0
//
// Checks of what belongs to the services: disk, configuration, certificates, and whether they
// answer.
#include <unistd.h>

#include <array>
#include <cerrno>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "cli/doctor/check.h"
#include "cli/exit_code.h"
#include "cli/words.h"

namespace faultline::cli::doctor {
namespace {

constexpr char kAsRoot[] = "run as root: `sudo faultline doctor`";

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

// `path` or the nearest folder above it that this user can see.
std::string Nearest(std::string path) {
  while (path.size() > 1 && ::access(path.c_str(), F_OK) != 0) {
    const size_t slash = path.rfind('/');
    path = slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
  }
  return path;
}

// The service that a row is about; rows of disk and configuration have one.
Service ServiceOf(const Check& check) { return static_cast<Service>(check.services); }

std::string ProgramName(const Check& check) {
  return absl::StrCat("faultline-", ServiceWords(check.services).front());
}

// Messages of the programs are "what is wrong. what to do".
Verdict Split(State state, absl::string_view message, absl::string_view otherwise) {
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(message, absl::MaxSplits(". ", 1));
  return {state, std::string(parts.first),
          std::string(parts.second.empty() ? otherwise : parts.second)};
}

}  // namespace

Verdict DiskSpace(const Site& site, const Check& check) {
  const std::string wanted = absl::StrCat(site.root, check.object);
  const std::string dir = Nearest(wanted);
  const absl::StatusOr<Space> space = site.trials->SpaceOf(dir);
  if (!space.ok()) return {check.failed, std::string(space.status().message()), check.fix};
  Bounds bounds{};
  for (const Bounds& each : kBounds) {
    if (each.service == ServiceOf(check)) bounds = each;
  }
  const std::string found =
      absl::StrCat(AmountText(static_cast<double>(space->free_bytes), "By"), " free of ",
                   AmountText(static_cast<double>(space->total_bytes), "By"), " in ", dir,
                   dir == wanted ? "" : absl::StrCat(", where ", check.object, " will be made"));
  if (space->read_only) {
    return {State::kFail, absl::StrCat(dir, " is on a file system that is mounted read-only"),
            absl::StrCat("`mount -o remount,rw` it, or give ", ProgramName(check),
                         " another --state-dir")};
  }
  if (space->out_of_inodes) {
    return {State::kFail, absl::StrCat(found, ", and no file can be made: no inode is left"),
            check.fix};
  }
  if (space->free_bytes < bounds.least_bytes) return {State::kFail, found, check.fix};
  if (space->free_bytes < bounds.low_bytes) return {State::kWarn, found, check.fix};
  return {State::kOk, found, ""};
}

// The file is its program's business: it alone says whether it is good.
Verdict Configuration(const Site& site, const Check& check) {
  const std::string file = absl::StrCat(site.config_dir, "/", check.object);
  const std::string name = ProgramName(check);
  const auto program = site.programs.find(ServiceOf(check));
  if (program == site.programs.end()) {
    return {State::kSkipped, absl::StrCat(name, " is not installed here"),
            absl::StrCat("`apt install ", name, "`")};
  }
  if (::access(file.c_str(), F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR)) {
    // The unit names the file; by hand a program runs without one.
    const std::string unit = absl::StrCat(site.root, "/lib/systemd/system/", name, ".service");
    const bool service = ::access(unit.c_str(), F_OK) == 0;
    return {service ? check.failed : State::kWarn,
            absl::StrCat(file, " does not exist",
                         service ? ", and the service does not start without it"
                                 : absl::StrCat(": ", name, " has its defaults")),
            absl::StrCat("the package has one: `apt install --reinstall -o "
                         "Dpkg::Options::=--force-confmiss ",
                         name, "`; `", program->second, " --sample-config` prints one")};
  }
  if (::access(file.c_str(), R_OK) != 0) {
    return {State::kSkipped, absl::StrCat("you may not read ", file), kAsRoot};
  }
  const absl::StatusOr<ProgramEnd> ended =
      site.trials->Run({program->second, "--check-config", "--config", file});
  if (!ended.ok()) return {check.failed, std::string(ended.status().message()), check.fix};
  if (ended->status == 0) return {State::kOk, absl::StrCat(file, " is good, says ", name), ""};
  return {check.failed,
          ended->said.empty() ? absl::StrCat(name, " --check-config ended with ", ended->status)
                              : std::string(absl::StripPrefix(ended->said, "error: ")),
          absl::StrCat("mend it and look again: `", program->second, " --check-config --config ",
                       file, "`")};
}

Verdict Certificates(const Site& site, const Check& check) {
  const bool needed = NeedsTls(site.collector, site.tls);
  TlsOptions tls = site.tls;
  if (tls.folder.empty()) tls.folder = absl::StrCat(site.root, kTlsFolder);
  if (::access((tls.folder + "/cert.pem").c_str(), F_OK) != 0 && errno == ENOENT && !needed) {
    return {State::kOk,
            absl::StrCat("none in ", tls.folder, ", and none needed for ", site.collector), ""};
  }
  if (::access((tls.folder + "/key.pem").c_str(), R_OK) != 0 && errno == EACCES) {
    return {State::kSkipped, absl::StrCat("you may not read ", tls.folder), kAsRoot};
  }
  // Whose it is is for the services to judge: here any role will do.
  absl::StatusOr<OwnCertificate> own = ReadOwnCertificate(tls, Role::kNode);
  for (const Role role : {Role::kCollector, Role::kOperator}) {
    if (own.ok()) break;
    const absl::StatusOr<OwnCertificate> other = ReadOwnCertificate(tls, role);
    if (other.ok()) own = other;
  }
  if (!own.ok()) return Split(check.failed, own.status().message(), check.fix);
  if (const absl::Status timely = CheckTime(*own, site.now); !timely.ok()) {
    const std::pair<std::string, std::string> parts =
        absl::StrSplit(timely.message(), absl::MaxSplits("; ", 1));
    return {
        check.failed, parts.first,
        parts.second.empty() ? "set the clock of this host: see the check clock" : parts.second};
  }
  const absl::Duration left = own->end - site.now;
  const std::string who = absl::StrCat(RoleWord(own->peer.role), " ", own->peer.name);
  const std::string found =
      absl::StrCat(who, ", valid for ", absl::ToInt64Hours(left) / 24, " more days");
  if (left >= kRenewBefore) return {State::kOk, found, ""};
  return {State::kWarn, found,
          absl::StrCat("where the authority is: `faultline tls ", who,
                       " --renew`; then copy the folder here, no restart is needed")};
}

Verdict CollectorAnswers(const Site& site, const Check& check) {
  const absl::StatusOr<Nodes> nodes = site.trials->AskCollector(site.collector, site.tls);
  if (nodes.ok()) {
    return {State::kOk,
            nodes->hidden ? absl::StrCat(site.collector, " answers")
                          : absl::StrCat(site.collector, " answers; nodes: ", nodes->known,
                                         " known, ", nodes->connected, " connected"),
            ""};
  }
  const absl::Status status = Plain(nodes.status(), site.collector);
  const bool here = (site.services & kCollector) != 0 && site.programs.count(kCollector) == 1;
  if (absl::IsUnavailable(status) && !site.collector_named && !here) {
    return {State::kSkipped, absl::StrCat("none was named, and none answers at ", site.collector),
            "name it: `faultline --collector HOST:PORT doctor`, or FAULTLINE_COLLECTOR"};
  }
  if (absl::IsUnavailable(status) && here && !site.collector_named) {
    return {check.failed, std::string(status.message()),
            "`systemctl start faultline-collector`; `journalctl -u faultline-collector` says why "
            "it ended"};
  }
  if (absl::IsDeadlineExceeded(status)) {
    return {check.failed, absl::StrCat(site.collector, " took the question and did not answer"),
            "look again; if it stays so, on its host `systemctl status faultline-collector`"};
  }
  const std::string next = NextStep(status, Callee{site.collector, false});
  return Split(check.failed, status.message(), next.empty() ? check.fix : next);
}

Verdict InjectorAnswers(const Site& site, const Check& check) {
  const std::string usual =
      absl::StrCat(site.root, check.object, site.is_root ? "/root" : "/agent", ".sock");
  const std::string address = site.injector.empty() ? "unix:" + usual : site.injector;
  const std::string path(absl::StripPrefix(address, "unix:"));
  if (::access(path.c_str(), F_OK) != 0) {
    return {State::kWarn, absl::StrCat("not running: there is no ", path),
            "if this host may be disturbed: `systemctl enable --now faultline-injector`"};
  }
  const absl::StatusOr<v1::Capabilities> can = site.trials->AskInjector(address);
  if (!can.ok()) {
    const absl::Status status = Plain(can.status(), address);
    if (absl::IsPermissionDenied(status)) {
      return {State::kSkipped, std::string(status.message()), NextStep(status, {address, true})};
    }
    return {check.failed,
            absl::IsDeadlineExceeded(status) ? address + " took the question and did not answer"
                                             : std::string(status.message()),
            check.fix};
  }
  if (!can->halted().empty()) {
    return {State::kWarn, absl::StrCat("halted: ", can->halted()),
            absl::StrCat("as root: `faultline --injector ", address, " release`")};
  }
  std::vector<std::string> missing;
  int all = 0;
  for (const v1::FaultInfo& info : can->faults()) {
    if (info.hold()) continue;
    ++all;
    if (info.availability() == v1::AVAILABILITY_MISSING) missing.push_back(info.type());
  }
  std::string found = absl::StrCat(path, " answers; ", all - static_cast<int>(missing.size()),
                                   " of ", all, " faults are possible");
  if (!missing.empty()) {
    absl::StrAppend(&found, ", not ", absl::StrJoin(missing, ", "), " (`faultline --injector ",
                    address, " status` says why)");
  }
  return {State::kOk, found, ""};
}

}  // namespace faultline::cli::doctor
