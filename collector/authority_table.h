// SPDX-License-Identifier: Apache-2.0
//
// Who may call what: one row per method, and what has no row is refused to everybody. Asked for
// each call that comes over TLS, before the service sees it; on loopback and Unix sockets, where
// callers show no certificate, nobody is asked. Stateless; any thread.
#pragma once

#include <grpcpp/security/auth_metadata_processor.h>

#include <memory>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/peer.h"

namespace faultline {

struct AuthorityRow {
  // As gRPC's :path has it, "/package.Service/Method"; ending in "/*": every method of the service.
  absl::string_view method;
  bool node;
  bool operator_;
  // Changes something: who called it is logged.
  bool command;
};

absl::Span<const AuthorityRow> AuthorityTable();

// PermissionDenied unless a row lets `peer` call `method`.
absl::Status MayCall(const Peer& peer, absl::string_view method);

// Asks the table for each call: Unauthenticated without a certificate of ours, else as MayCall.
// Logs what it denies, with a bound, and the commands that it lets through.
std::shared_ptr<grpc::AuthMetadataProcessor> NewAuthorityCheck();

}  // namespace faultline
