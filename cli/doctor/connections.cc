// SPDX-License-Identifier: Apache-2.0
//
// Checks of what leads to others: certificates, and whether collector and injector answer.
#include <unistd.h>

#include <cerrno>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "cli/doctor/check.h"
#include "cli/doctor/settings.h"
#include "cli/exit_code.h"
#include "cli/fault_view.h"

namespace faultline::cli::doctor {
namespace {

// Messages of the programs are "what is wrong. what to do".
Verdict Split(State state, absl::string_view message, absl::string_view otherwise) {
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(message, absl::MaxSplits(". ", 1));
  return {state, std::string(parts.first),
          std::string(parts.second.empty() ? otherwise : parts.second)};
}

TlsOptions InPlace(const Site& site, TlsOptions tls) {
  if (tls.folder.empty()) tls.folder = absl::StrCat(site.root, kTlsFolder);
  return tls;
}

bool MayNotRead(const std::string& path) {
  return ::access(path.c_str(), R_OK) != 0 && errno == EACCES;
}

Verdict NotForYou(const std::string& path) {
  return {State::kSkipped, absl::StrCat("you may not read ", path), kAsRoot};
}

Verdict JudgeTime(const Site& site, const Check& check, const OwnCertificate& own) {
  if (const absl::Status timely = CheckTime(own, site.now); !timely.ok()) {
    const std::pair<std::string, std::string> parts =
        absl::StrSplit(timely.message(), absl::MaxSplits("; ", 1));
    return {
        check.failed, parts.first,
        parts.second.empty() ? "set the clock of this host: see the check clock" : parts.second};
  }
  const absl::Duration left = own.end - site.now;
  const std::string who = absl::StrCat(RoleWord(own.peer.role), " ", own.peer.name);
  const std::string found =
      absl::StrCat(who, ", valid for ", absl::ToInt64Hours(left) / 24, " more days");
  if (left >= kRenewBefore) return {State::kOk, found, ""};
  return {State::kWarn, found,
          absl::StrCat("where the authority is: ", HowToRenew(own.peer),
                       "; then copy the folder here, no restart is needed")};
}

// Whom the check "collector" asks.
struct Asked {
  std::string address;
  TlsOptions tls;
  // Somebody has named it: it is to be there.
  bool named;
  // This host's own is to answer.
  bool here;
};

// The one that was named; else the agent's; else this host's own.
Asked WhomToAsk(const Site& site) {
  if (site.collector_named) return {site.collector, site.tls, true, false};
  const bool here = (site.services & kCollector) != 0 && site.programs.count(kCollector) == 1;
  const bool agent = (site.services & kAgent) != 0;
  const Settings settings = SettingsOf(site, agent ? kAgent : kCollector);
  const Settings own = SettingsOf(site, kCollector);
  Asked asked{settings.address, settings.tls, settings.address_given, here};
  if (here && (!agent || !settings.address_given)) asked = {own.address, own.tls, true, true};
  asked.here = here && (asked.address == own.address || StaysOnHost(asked.address));
  if (!site.tls.folder.empty()) asked.tls = site.tls;
  return asked;
}

// What an injector that takes commands can do with them. `path`: of its socket.
Verdict JudgeFaults(const v1::Capabilities& can, const std::string& path,
                    const std::string& address) {
  std::vector<std::string> missing;
  std::string reason;
  int all = 0;
  for (const v1::FaultInfo& info : can.faults()) {
    if (info.hold()) continue;
    ++all;
    if (info.availability() != v1::AVAILABILITY_MISSING) continue;
    missing.push_back(info.type());
    if (reason.empty()) reason = info.reason();
  }
  const int possible = all - static_cast<int>(missing.size());
  const std::string status = absl::StrCat("`faultline --injector ", address, " status` says why");
  if (possible == 0 && all > 0) {
    // "what is wrong; what to do".
    const std::pair<std::string, std::string> parts =
        absl::StrSplit(reason, absl::MaxSplits("; ", 1));
    std::string fix = parts.second.empty() ? status : parts.second;
    // Set in its file, and read at its start: the one reason that is not this machine's.
    if (absl::StrContains(reason, "`enabled: true`")) {
      fix = "set `enabled: true` in /etc/faultline/injector.yaml and restart faultline-injector";
    }
    return {State::kWarn,
            absl::StrCat(path, " answers; none of ", all, " faults is possible",
                         reason.empty() ? "" : ": ", parts.first),
            fix};
  }
  std::string found =
      absl::StrCat(path, " answers; ", possible, " of ", all, " faults are possible");
  if (!missing.empty()) {
    absl::StrAppend(&found, ", not ", absl::StrJoin(missing, ", "), " (", status, ")");
  }
  const std::string allowed = AllowedText(can.limits());
  if (!allowed.empty()) absl::StrAppend(&found, "; ", allowed);
  return {State::kOk, found, ""};
}

}  // namespace

Verdict ServiceCertificate(const Site& site, const Check& check) {
  const Service service = ServiceOf(check);
  const Settings settings = SettingsOf(site, service);
  if (MayNotRead(settings.file)) return NotForYou(settings.file);
  if (!NeedsTls(settings.address, settings.tls)) {
    return {State::kOk, absl::StrCat("none needed for ", settings.address), ""};
  }
  const TlsOptions tls = InPlace(site, settings.tls);
  const std::string key = tls.folder + "/key.pem";
  if (MayNotRead(key)) return NotForYou(key);
  const absl::StatusOr<OwnCertificate> own =
      ReadOwnCertificate(tls, service == kAgent ? Role::kNode : Role::kCollector);
  if (!own.ok()) return Split(check.failed, own.status().message(), check.fix);
  for (const char* file : {"/ca.pem", "/cert.pem", "/key.pem"}) {
    const absl::Status status = CheckReadable(site, settings, tls.folder + file);
    if (status.ok()) continue;
    return {check.failed, std::string(status.message()),
            absl::StrCat("`chown -R ", settings.user, ": ", tls.folder, "`")};
  }
  return JudgeTime(site, check, *own);
}

Verdict OwnCertificates(const Site& site, const Check& check) {
  const TlsOptions tls = InPlace(site, site.tls);
  if (::access((tls.folder + "/cert.pem").c_str(), F_OK) != 0 && errno == ENOENT &&
      !NeedsTls(site.collector, site.tls)) {
    return {State::kOk,
            absl::StrCat("none in ", tls.folder, ", and none needed for ", site.collector), ""};
  }
  if (MayNotRead(tls.folder + "/key.pem")) return NotForYou(tls.folder);
  // The folder may be a service's, whose rows judge it for that: here any role will do.
  absl::StatusOr<OwnCertificate> own = ReadOwnCertificate(tls, Role::kNode);
  for (const Role role : {Role::kCollector, Role::kOperator}) {
    if (own.ok()) break;
    const absl::StatusOr<OwnCertificate> other = ReadOwnCertificate(tls, role);
    if (other.ok()) own = other;
  }
  if (!own.ok()) return Split(check.failed, own.status().message(), check.fix);
  return JudgeTime(site, check, *own);
}

Verdict CollectorAnswers(const Site& site, const Check& check) {
  const Asked asked = WhomToAsk(site);
  const absl::StatusOr<Nodes> nodes = site.trials->AskCollector(asked.address, asked.tls);
  if (nodes.ok()) {
    return {State::kOk,
            nodes->hidden ? absl::StrCat(asked.address, " answers")
                          : absl::StrCat(asked.address, " answers; nodes: ", nodes->known,
                                         " known, ", nodes->connected, " connected"),
            ""};
  }
  const absl::Status status = Plain(nodes.status(), asked.address);
  if (absl::IsUnavailable(status) && !asked.named) {
    return {State::kSkipped, absl::StrCat("none was named, and none answers at ", asked.address),
            "name it: `faultline --collector HOST:PORT doctor`, or FAULTLINE_COLLECTOR"};
  }
  if (absl::IsUnavailable(status) && asked.here) {
    return {check.failed, std::string(status.message()),
            "`systemctl start faultline-collector`; `journalctl -u faultline-collector` says why "
            "it ended"};
  }
  if (absl::IsDeadlineExceeded(status)) {
    return {check.failed, absl::StrCat(asked.address, " took the question and did not answer"),
            "look again; if it stays so, on its host `systemctl status faultline-collector`"};
  }
  if (absl::IsFailedPrecondition(status)) {
    return {check.failed, Split(check.failed, status.message(), "").found, check.fix};
  }
  const std::string next =
      NextStep(status, Callee{asked.address, false, NeedsTls(asked.address, asked.tls)});
  return Split(check.failed, status.message(), next.empty() ? check.fix : next);
}

Verdict InjectorAnswers(const Site& site, const Check& check) {
  const std::string usual =
      absl::StrCat(SettingsOf(site, kInjector).run_dir, site.is_root ? "/root" : "/agent", ".sock");
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
  return JudgeFaults(*can, path, address);
}

}  // namespace faultline::cli::doctor
