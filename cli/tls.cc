// SPDX-License-Identifier: Apache-2.0
//
// `faultline tls`: certificates for people who have no authority of their own. Writes folders that
// programs take with --tls as they are; copying them to their machines is the caller's matter.
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <memory>
#include <ostream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status.h"
#include "cli/authority.h"
#include "cli/command.h"
#include "cli/credential_folder.h"

namespace faultline::cli {
namespace {

// Until then each machine has to get a new ca.pem.
constexpr absl::Duration kAuthorityLife = absl::Hours(24 * 3650);
// Clocks of nodes that are behind ours must not find a new certificate not yet valid.
constexpr absl::Duration kClockError = absl::Hours(1);

struct TlsArguments {
  // Of the authority.
  std::string folder = "/etc/faultline/ca";
  std::string name;
  std::string out;
  int days = 365;
  bool renew = false;
};

Validity Lasting(absl::Duration life) {
  const absl::Time now = absl::Now();
  return {now - kClockError, now + life};
}

absl::StatusOr<Authority> Open(const std::string& folder) {
  absl::StatusOr<std::string> certificate = ReadSmallFile(folder + "/ca.pem");
  absl::StatusOr<std::string> key = ReadSmallFile(folder + "/ca-key.pem");
  const absl::Status& status = certificate.ok() ? key.status() : certificate.status();
  if (!status.ok()) {
    return WithContext(status,
                       absl::StrCat("no authority in ", folder,
                                    ", which `faultline tls init DIR` makes and --ca names"));
  }
  absl::StatusOr<Authority> authority = Authority::Read({*certificate, *key});
  if (!authority.ok()) return WithContext(authority.status(), folder);
  return authority;
}

// What the folder's owner trusts already stays trusted, as while one authority follows another.
std::string TrustedWith(const std::string& folder, const std::string& authority) {
  const absl::StatusOr<std::string> old = ReadSmallFile(folder + "/ca.pem");
  if (!old.ok()) return authority;
  if (absl::StrContains(*old, authority)) return *old;
  return absl::StrCat(*old, absl::EndsWith(*old, "\n") ? "" : "\n", authority);
}

absl::Status Issue(const Globals& globals, const Authority& authority, const Peer& peer,
                   const TlsArguments& arguments) {
  absl::StatusOr<Credential> own = authority.Pem();
  if (!own.ok()) return own.status();
  Validity validity = Lasting(absl::Hours(24) * arguments.days);
  // One that outlived its authority would end with it all the same.
  const bool cut = validity.end > authority.end() && authority.end() > absl::Now();
  if (cut) validity.end = authority.end();
  absl::StatusOr<Credential> made = authority.Issue(peer, validity);
  if (!made.ok()) return made.status();
  const std::string folder =
      arguments.out.empty()
          ? absl::StrCat(arguments.folder, "/", RoleWord(peer.role), "-", peer.name)
          : arguments.out;
  const std::string trusted =
      arguments.renew ? TrustedWith(folder, own->certificate) : own->certificate;
  const absl::Status written = WriteCredentialFolder(
      folder, {{"ca.pem", trusted}, {"cert.pem", made->certificate}, {"key.pem", made->key}},
      arguments.renew);
  if (absl::IsAlreadyExists(written)) {
    return absl::AlreadyExistsError(
        absl::StrCat(folder, " is there; --renew replaces it by a new certificate and a new key"));
  }
  if (!written.ok()) return written;
  globals.terminal->Say(absl::StrCat(
      RoleWord(peer.role), " ", peer.name, ": ", folder, ", valid ",
      cut ? absl::StrCat("until the authority ends, on ",
                         absl::FormatTime("%Y-%m-%d", authority.end(), absl::UTCTimeZone()))
          : absl::StrCat(arguments.days, " days")));
  return absl::OkStatus();
}

std::string HostName() {
  std::array<char, 256> name{};
  if (::gethostname(name.data(), name.size() - 1) != 0) return "localhost";
  return name.data();
}

// The authority, and the three that the first two machines need.
absl::Status Init(const Globals& globals, const TlsArguments& arguments) {
  absl::StatusOr<Authority> authority = Authority::Make(Lasting(kAuthorityLife));
  if (!authority.ok()) return authority.status();
  absl::StatusOr<Credential> pem = authority->Pem();
  if (!pem.ok()) return pem.status();
  const absl::Status written = WriteCredentialFolder(
      arguments.folder, {{"ca.pem", pem->certificate}, {"ca-key.pem", pem->key}}, false);
  if (absl::IsAlreadyExists(written)) {
    return absl::AlreadyExistsError(
        absl::StrCat(arguments.folder,
                     " is there; an authority is never replaced: move it away, "
                     "or name another folder"));
  }
  if (!written.ok()) return written;
  globals.terminal->Say(absl::StrCat("authority: ", arguments.folder,
                                     "; who has its ca-key.pem can be anybody: keep it off the "
                                     "network, and copy only the folders below"));
  const std::string host = HostName();
  for (const Peer& peer : {Peer{Role::kCollector, "collector"}, Peer{Role::kNode, host},
                           Peer{Role::kOperator, "operator"}}) {
    const absl::Status issued = Issue(globals, *authority, peer, arguments);
    if (!issued.ok()) return issued;
  }
  return absl::OkStatus();
}

absl::Status IssueOne(const Globals& globals, Role role, const TlsArguments& arguments) {
  absl::StatusOr<Authority> authority = Open(arguments.folder);
  if (!authority.ok()) return authority.status();
  return Issue(globals, *authority, {role, arguments.name}, arguments);
}

// A folder is made beside its place, under its name: "DIR/" has none.
std::string DropSlashes(std::string& path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return "";
}

// `option` takes the path of a folder.
void TakesFolder(CLI::Option* option) {
  option->type_name("DIR")->transform(CLI::Validator(DropSlashes, ""));
}

CLI::App* AddDays(CLI::App* command, TlsArguments* arguments) {
  command->add_option("--days", arguments->days, "how long certificates are valid, 1 to 3650")
      ->capture_default_str()
      ->check(CLI::Range(1, 3650).description(""));
  return command;
}

void AddInit(CLI::App* tls, Action* action) {
  auto arguments = std::make_shared<TlsArguments>();
  CLI::App* command =
      AddDays(tls->add_subcommand("init",
                                  "make an authority, and certificates of a collector, this node "
                                  "and an operator"),
              arguments.get());
  TakesFolder(command->add_option("dir", arguments->folder, "new folder for it")->required());
  command->callback([arguments, action] {
    *action = [arguments](const Globals& globals) {
      return Report(globals, Init(globals, *arguments));
    };
  });
}

void AddRole(CLI::App* tls, Role role, const char* meaning, Action* action) {
  auto arguments = std::make_shared<TlsArguments>();
  CLI::App* command =
      AddDays(tls->add_subcommand(std::string(RoleWord(role)), meaning), arguments.get());
  command->add_option("name", arguments->name, "its name: letters, digits, '.', '_', '-'")
      ->required()
      ->type_name("NAME");
  TakesFolder(command->add_option("--ca", arguments->folder, "folder of the authority")
                  ->capture_default_str());
  TakesFolder(command->add_option("--out", arguments->out,
                                  "new folder for it (default: in the authority's)"));
  command->add_flag("--renew", arguments->renew,
                    "replace certificate and key if the folder is there; owners, modes and the "
                    "authorities in its ca.pem stay");
  command->callback([arguments, role, action] {
    *action = [arguments, role](const Globals& globals) {
      return Report(globals, IssueOne(globals, role, *arguments));
    };
  });
}

}  // namespace

void AddTls(CLI::App& app, Action* action) {
  CLI::App* tls = app.add_subcommand("tls", "make certificates for agents, operators, collectors");
  tls->require_subcommand(1);
  AddInit(tls, action);
  AddRole(tls, Role::kNode, "certificate of a node's agent; NAME is the node's id", action);
  AddRole(tls, Role::kOperator, "certificate of somebody who injects and exports", action);
  AddRole(tls, Role::kCollector, "certificate of a further collector", action);
}

}  // namespace faultline::cli
