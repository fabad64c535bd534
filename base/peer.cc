// SPDX-License-Identifier: Apache-2.0
#include "base/peer.h"

#include <grpc/grpc_security_constants.h>

#include <algorithm>
#include <array>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace faultline {
namespace {

constexpr absl::string_view kPrefix = "spiffe://faultline/";
constexpr size_t kMaxName = 64;
constexpr std::array<Role, 3> kRoles{Role::kNode, Role::kOperator, Role::kCollector};

absl::Status Nobody(absl::string_view why) {
  return absl::UnauthenticatedError(
      absl::StrCat("the certificate names no peer of Faultline: ", why, "; one URI name ", kPrefix,
                   "node/NAME, operator/NAME or collector/NAME is needed, as "
                   "`faultline tls` writes it"));
}

}  // namespace

absl::string_view RoleWord(Role role) {
  switch (role) {
    case Role::kNode:
      return "node";
    case Role::kOperator:
      return "operator";
    case Role::kCollector:
      return "collector";
  }
  return "nobody";
}

absl::Status CheckPeerName(absl::string_view name) {
  const bool good = !name.empty() && name.size() <= kMaxName && name != "." && name != ".." &&
                    std::all_of(name.begin(), name.end(), [](char c) {
                      return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '.' ||
                             c == '_' || c == '-';
                    });
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("\"", absl::CHexEscape(name.substr(0, 80)),
                                                 "\" is no name: 1 to ", kMaxName,
                                                 " letters, digits, '.', '_' or '-' are allowed"));
}

std::string PeerUri(const Peer& peer) {
  return absl::StrCat(kPrefix, RoleWord(peer.role), "/", peer.name);
}

absl::StatusOr<Peer> PeerOfUris(const std::vector<std::string>& uris) {
  if (uris.empty()) return Nobody("it has no URI name");
  if (uris.size() > 1) return Nobody("it has several URI names");
  for (const Role role : kRoles) {
    absl::string_view name = uris[0];
    if (!absl::ConsumePrefix(&name, PeerUri({role, ""}))) continue;
    if (!CheckPeerName(name).ok()) break;
    return Peer{role, std::string(name)};
  }
  return Nobody(absl::StrCat("its URI name is \"", absl::CHexEscape(uris[0].substr(0, 200)), "\""));
}

absl::StatusOr<Peer> PeerOf(const grpc::AuthContext& context) {
  if (!context.IsPeerAuthenticated()) {
    return absl::UnauthenticatedError("the other end has shown no certificate");
  }
  std::vector<std::string> uris;
  for (const grpc::string_ref& uri : context.FindPropertyValues(GRPC_PEER_URI_PROPERTY_NAME)) {
    uris.emplace_back(uri.data(), uri.size());
  }
  return PeerOfUris(uris);
}

}  // namespace faultline
