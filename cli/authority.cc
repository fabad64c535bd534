// SPDX-License-Identifier: Apache-2.0
#include "cli/authority.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <array>
#include <ctime>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace faultline::cli {
namespace {

struct FreeBio {
  void operator()(BIO* bio) const { BIO_free(bio); }
};
using Bio = std::unique_ptr<BIO, FreeBio>;

// RFC 5280 allows 20 octets and wants them positive; 16 random ones make a list of what was issued
// unnecessary.
constexpr size_t kSerialBytes = 16;
// As X.509 counts: 2 is version 3.
constexpr long kVersion3 = 2;

// What OpenSSL says of its last failure; its queue is empty afterwards.
absl::Status SslError(absl::string_view what) {
  std::array<char, 256> text{};
  ERR_error_string_n(ERR_get_error(), text.data(), text.size());
  ERR_clear_error();
  return absl::InternalError(absl::StrCat(what, ": ", text.data()));
}

struct Extension {
  int nid;
  std::string value;
};

// `issuer`: whose key identifier AUTHORITY_KEY_IDENTIFIER copies.
absl::Status AddExtension(X509* certificate, X509* issuer, const Extension& extension) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* const made =
      X509V3_EXT_conf_nid(nullptr, &context, extension.nid, extension.value.c_str());
  if (made == nullptr) return SslError(absl::StrCat("extension ", OBJ_nid2sn(extension.nid)));
  const int added = X509_add_ext(certificate, made, -1);
  X509_EXTENSION_free(made);
  return added == 1 ? absl::OkStatus() : SslError("adding an extension");
}

absl::Status SetSubject(X509* certificate, const std::string& common_name) {
  X509_NAME* const subject = X509_get_subject_name(certificate);
  for (const auto& [field, text] :
       {std::pair<const char*, std::string>("O", "Faultline"), {"CN", common_name}}) {
    const auto* const bytes = reinterpret_cast<const unsigned char*>(text.c_str());
    if (X509_NAME_add_entry_by_txt(subject, field, MBSTRING_UTF8, bytes, -1, -1, 0) != 1) {
      return SslError("setting the subject");
    }
  }
  return absl::OkStatus();
}

// RFC 5280 permits 64 characters in a common name; the name that counts is the URI.
std::string CommonName(const Peer& peer) {
  return absl::StrCat(RoleWord(peer.role), " ", peer.name).substr(0, 64);
}

}  // namespace

absl::Status Authority::Prepare(X509* certificate, EVP_PKEY* key, const Validity& validity) {
  std::array<unsigned char, kSerialBytes> serial{};
  if (RAND_bytes(serial.data(), static_cast<int>(serial.size())) != 1) return SslError("random");
  serial[0] = static_cast<unsigned char>((serial[0] & 0x7F) | 0x40);
  BIGNUM* const number = BN_bin2bn(serial.data(), static_cast<int>(serial.size()), nullptr);
  const bool set = number != nullptr &&
                   BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != nullptr;
  BN_free(number);
  if (!set || X509_set_version(certificate, kVersion3) != 1 ||
      ASN1_TIME_set(X509_getm_notBefore(certificate), absl::ToTimeT(validity.begin)) == nullptr ||
      ASN1_TIME_set(X509_getm_notAfter(certificate), absl::ToTimeT(validity.end)) == nullptr ||
      X509_set_pubkey(certificate, key) != 1) {
    return SslError("preparing a certificate");
  }
  return absl::OkStatus();
}

absl::StatusOr<Authority> Authority::Make(const Validity& validity) {
  Authority made;
  made.key_.reset(EVP_EC_gen("P-256"));
  made.certificate_.reset(X509_new());
  if (made.key_ == nullptr || made.certificate_ == nullptr) return SslError("making a key");
  X509* const certificate = made.certificate_.get();
  absl::Status status = Prepare(certificate, made.key_.get(), validity);
  if (status.ok()) status = SetSubject(certificate, "Faultline authority");
  if (!status.ok()) return status;
  if (X509_set_issuer_name(certificate, X509_get_subject_name(certificate)) != 1) {
    return SslError("setting the issuer");
  }
  // It signs certificates of peers and no further authority.
  for (const Extension& extension : {Extension{NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
                                     Extension{NID_key_usage, "critical,keyCertSign,cRLSign"},
                                     Extension{NID_subject_key_identifier, "hash"}}) {
    status = AddExtension(certificate, certificate, extension);
    if (!status.ok()) return status;
  }
  if (X509_sign(certificate, made.key_.get(), EVP_sha256()) == 0) return SslError("signing");
  made.end_ = EndOf(certificate);
  return made;
}

absl::StatusOr<Authority> Authority::Read(const Credential& ca) {
  Authority read;
  const Bio certificate(
      BIO_new_mem_buf(ca.certificate.data(), static_cast<int>(ca.certificate.size())));
  const Bio key(BIO_new_mem_buf(ca.key.data(), static_cast<int>(ca.key.size())));
  // An empty pass phrase: without one OpenSSL would ask the terminal.
  std::string none;
  read.certificate_.reset(PEM_read_bio_X509(certificate.get(), nullptr, nullptr, nullptr));
  read.key_.reset(PEM_read_bio_PrivateKey(key.get(), nullptr, nullptr, none.data()));
  const bool good = read.certificate_ != nullptr && read.key_ != nullptr &&
                    X509_check_private_key(read.certificate_.get(), read.key_.get()) == 1;
  ERR_clear_error();
  if (!good) {
    return absl::InvalidArgumentError(
        "ca.pem and ca-key.pem are not a certificate and its unencrypted key");
  }
  read.end_ = EndOf(read.certificate_.get());
  return read;
}

absl::StatusOr<Credential> Authority::Issue(const Peer& peer, const Validity& validity) const {
  absl::Status status = CheckPeerName(peer.name);
  if (!status.ok()) return status;
  if (validity.end > end_) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the authority's own certificate ends on ", absl::FormatTime(end_, absl::UTCTimeZone()),
        ", before this one would: make another authority, `faultline tls init DIR`, and give each "
        "machine its ca.pem beside the old one first"));
  }
  const Key key(EVP_EC_gen("P-256"));
  const Certificate certificate(X509_new());
  if (key == nullptr || certificate == nullptr) return SslError("making a key");
  status = Prepare(certificate.get(), key.get(), validity);
  if (status.ok()) status = SetSubject(certificate.get(), CommonName(peer));
  if (!status.ok()) return status;
  if (X509_set_issuer_name(certificate.get(), X509_get_subject_name(certificate_.get())) != 1) {
    return SslError("setting the issuer");
  }
  // Agents and operators only dial, a collector only listens.
  const bool serves = peer.role == Role::kCollector;
  for (const Extension& extension :
       {Extension{NID_basic_constraints, "critical,CA:FALSE"},
        Extension{NID_key_usage, "critical,digitalSignature"},
        Extension{NID_ext_key_usage, serves ? "serverAuth" : "clientAuth"},
        Extension{NID_subject_key_identifier, "hash"},
        Extension{NID_authority_key_identifier, "keyid:always"},
        Extension{NID_subject_alt_name, absl::StrCat("URI:", PeerUri(peer))}}) {
    status = AddExtension(certificate.get(), certificate_.get(), extension);
    if (!status.ok()) return status;
  }
  if (X509_sign(certificate.get(), key_.get(), EVP_sha256()) == 0) return SslError("signing");
  return ToPem(certificate.get(), key.get());
}

absl::StatusOr<Credential> Authority::Pem() const { return ToPem(certificate_.get(), key_.get()); }

absl::StatusOr<Credential> Authority::ToPem(X509* certificate, EVP_PKEY* key) {
  const Bio public_part(BIO_new(BIO_s_mem()));
  // Secure memory: cleared when it is freed.
  const Bio secret_part(BIO_new(BIO_s_secmem()));
  if (PEM_write_bio_X509(public_part.get(), certificate) != 1 ||
      PEM_write_bio_PKCS8PrivateKey(secret_part.get(), key, nullptr, nullptr, 0, nullptr,
                                    nullptr) != 1) {
    return SslError("writing PEM");
  }
  const auto text = [](const Bio& bio) {
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio.get(), &data);
    return std::string(data, static_cast<size_t>(size));
  };
  return Credential{text(public_part), text(secret_part)};
}

absl::Time Authority::EndOf(X509* certificate) {
  std::tm broken{};
  if (ASN1_TIME_to_tm(X509_get0_notAfter(certificate), &broken) != 1) return absl::InfinitePast();
  return absl::FromTM(broken, absl::UTCTimeZone());
}

}  // namespace faultline::cli
