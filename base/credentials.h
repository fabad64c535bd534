// SPDX-License-Identifier: Apache-2.0
//
// Transport security of what dials and listens: on a Unix socket or loopback none is needed, and
// everywhere else both ends show a certificate of one authority. A folder holds ca.pem, cert.pem
// and key.pem; gRPC reads them again when they change, so a new certificate needs no restart: it
// counts for connections made from then on. Stateless; any thread.
#pragma once

#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "base/peer.h"

namespace faultline {

inline constexpr absl::string_view kTlsFolder = "/etc/faultline/tls";

struct TlsOptions {
  // Holds ca.pem, cert.pem and key.pem; empty: kTlsFolder, and loopback goes without. Named: used
  // on loopback too. Unix sockets never use it: their file's mode says who may connect.
  std::string folder;
  // How often the files are looked at, seconds: within so long a new certificate is in use.
  unsigned int refresh_s = 10;
};

// How long before its end a certificate is to be renewed.
inline constexpr absl::Duration kRenewBefore = absl::Hours(24 * 14);

// What the folder's certificate says.
struct OwnCertificate {
  Peer peer;
  absl::Time begin;
  absl::Time end;
};

// A Unix socket, or an address that is loopback as it is written: nothing is resolved, and any
// other spelling counts as the network.
bool StaysOnHost(absl::string_view address);

// Whether a connection with `address` is to be secured.
bool NeedsTls(absl::string_view address, const TlsOptions& tls);

// Reads the three files. FailedPrecondition, with what to do, when one is missing or unreadable,
// the key is not the certificate's or open to everybody, the certificate is not of that authority
// or of another role. A wrong time is no error: on a node the clock may be what is wrong.
absl::StatusOr<OwnCertificate> ReadOwnCertificate(const TlsOptions& tls, Role role);

// What makes a new certificate of `peer`, where the authority is one of `faultline tls init`.
std::string HowToRenew(const Peer& peer);

// FailedPrecondition if `certificate` is not yet or no more valid at `now`.
absl::Status CheckTime(const OwnCertificate& certificate, absl::Time now);

// For a connection to a collector. The other end must show a collector's certificate; its host name
// plays no part, so that addresses and tunnels may change. Errors of ReadOwnCertificate.
absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> DialCredentials(absl::string_view address,
                                                                          const TlsOptions& tls,
                                                                          Role role);

// For the collector's socket. Secured, each caller must show a certificate of the authority.
absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> ListenCredentials(
    absl::string_view address, const TlsOptions& tls);

}  // namespace faultline
