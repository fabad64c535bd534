// SPDX-License-Identifier: Apache-2.0
//
// Who a certificate says that its holder is: a role and a name, written as the certificate's only
// URI name, spiffe://faultline/ROLE/NAME. Which authority may say so is ca.pem's matter
// (base/credentials.h); what a role may do is the collector's (collector/authority_table.h).
// Stateless; any thread.
#pragma once

#include <grpcpp/security/auth_context.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace faultline {

enum class Role : std::uint8_t {
  // An agent: delivers the samples of the node of that name.
  kNode,
  // A person or a program that injects, opens runs and reads datasets.
  kOperator,
  // Whom agents and the command line may trust their words to.
  kCollector,
};

struct Peer {
  Role role = Role::kNode;
  std::string name;

  bool operator==(const Peer&) const = default;
};

// "node", "operator" or "collector".
absl::string_view RoleWord(Role role);

// InvalidArgument unless `name` has 1 to 64 letters, digits, '.', '_' or '-', and is neither "."
// nor
// "..": the rule for ids of nodes, and for what may stand in such a URI and name a folder.
absl::Status CheckPeerName(absl::string_view name);

std::string PeerUri(const Peer& peer);

// Unauthenticated unless it is exactly one name and that of a peer: a certificate of two roles has
// none.
absl::StatusOr<Peer> PeerOfUris(const std::vector<std::string>& uris);

// Whose certificate the other end of a call has shown. Unauthenticated: none, or not one of ours.
absl::StatusOr<Peer> PeerOf(const grpc::AuthContext& context);

}  // namespace faultline
