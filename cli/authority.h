// SPDX-License-Identifier: Apache-2.0
//
// A small certificate authority for people who have none: one self-signed certificate, and under it
// those of nodes, operators and collectors. ECDSA P-256 throughout; names as base/peer.h has them.
// It keeps no list of what it issued. Owned by one command; one thread.
#pragma once

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/peer.h"

namespace faultline::cli {

struct Validity {
  absl::Time begin;
  absl::Time end;
};

// Both in PEM.
struct Credential {
  std::string certificate;
  std::string key;
};

class Authority {
 public:
  // A new one, with a new key.
  static absl::StatusOr<Authority> Make(const Validity& validity);
  // The one of `ca`. InvalidArgument: no certificate, no key, or not of each other.
  static absl::StatusOr<Authority> Read(const Credential& ca);

  // A certificate for `peer` and a new key. InvalidArgument: it cannot be named so, or the
  // authority's own certificate ends before `validity` does.
  absl::StatusOr<Credential> Issue(const Peer& peer, const Validity& validity) const;

  // Its own.
  absl::StatusOr<Credential> Pem() const;
  absl::Time end() const { return end_; }

 private:
  struct Free {
    void operator()(X509* certificate) const { X509_free(certificate); }
    void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
  };
  using Certificate = std::unique_ptr<X509, Free>;
  using Key = std::unique_ptr<EVP_PKEY, Free>;

  static absl::Status Prepare(X509* certificate, EVP_PKEY* key, const Validity& validity);
  static absl::StatusOr<Credential> ToPem(X509* certificate, EVP_PKEY* key);
  static absl::Time EndOf(X509* certificate);

  Certificate certificate_;
  Key key_;
  absl::Time end_;
};

}  // namespace faultline::cli
