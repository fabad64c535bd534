// SPDX-License-Identifier: Apache-2.0
#include "base/credentials.h"

#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/security/tls_credentials_options.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <ctime>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status.h"

namespace faultline {
namespace {

template <auto kFree>
struct Free {
  template <typename T>
  void operator()(T* thing) const {
    kFree(thing);
  }
};
using Certificate = std::unique_ptr<X509, Free<&X509_free>>;
using Key = std::unique_ptr<EVP_PKEY, Free<&EVP_PKEY_free>>;
using File = std::unique_ptr<std::FILE, Free<&std::fclose>>;
using TrustStore = std::unique_ptr<X509_STORE, Free<&X509_STORE_free>>;
using Verification = std::unique_ptr<X509_STORE_CTX, Free<&X509_STORE_CTX_free>>;

std::string FolderOf(const TlsOptions& tls) {
  return tls.folder.empty() ? std::string(kTlsFolder) : tls.folder;
}

std::string PathOf(const TlsOptions& tls, absl::string_view file) {
  return absl::StrCat(FolderOf(tls), "/", file);
}

absl::Status Unfit(absl::string_view what, Role role, const TlsOptions& tls) {
  return absl::FailedPreconditionError(absl::StrCat(
      what,
      ". Beyond this host Faultline speaks only mutual TLS: put ca.pem, cert.pem and key.pem "
      "of this ",
      RoleWord(role), " into ", FolderOf(tls),
      " or name their folder with --tls. Without an authority of your own, `faultline tls init "
      "DIR` makes one, and `faultline tls ",
      RoleWord(role), " NAME --ca DIR` such a folder"));
}

absl::StatusOr<File> Open(const std::string& path) {
  File file(std::fopen(path.c_str(), "re"));
  if (file == nullptr) return ErrnoStatus(errno, absl::StrCat("opening ", path));
  return file;
}

absl::StatusOr<Certificate> ReadCertificate(const std::string& path) {
  absl::StatusOr<File> file = Open(path);
  if (!file.ok()) return file.status();
  Certificate certificate(PEM_read_X509(file->get(), nullptr, nullptr, nullptr));
  ERR_clear_error();
  if (certificate != nullptr) return certificate;
  return absl::InvalidArgumentError(absl::StrCat(path, " holds no certificate in PEM"));
}

absl::StatusOr<Key> ReadKey(const std::string& path) {
  absl::StatusOr<File> file = Open(path);
  if (!file.ok()) return file.status();
  struct stat status {};
  if (::fstat(fileno(file->get()), &status) != 0) return ErrnoStatus(errno, path);
  if ((status.st_mode & S_IRWXO) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " is open to everybody (`chmod o-rwx` mends it)"));
  }
  // An empty pass phrase: without one OpenSSL would ask the terminal.
  std::string none;
  Key key(PEM_read_PrivateKey(file->get(), nullptr, nullptr, none.data()));
  ERR_clear_error();
  if (key != nullptr) return key;
  return absl::InvalidArgumentError(absl::StrCat(path, " holds no unencrypted private key in PEM"));
}

// Whether an authority of ca.pem signed the certificate, which may bring intermediate ones along.
// Times are not looked at.
absl::Status CheckIssuer(X509* certificate, const std::string& chain, const std::string& ca) {
  TrustStore store(X509_STORE_new());
  if (X509_STORE_load_file(store.get(), ca.c_str()) != 1) {
    ERR_clear_error();
    return absl::InvalidArgumentError(absl::StrCat(ca, " is missing, or holds no certificate"));
  }
  absl::StatusOr<File> file = Open(chain);
  if (!file.ok()) return file.status();
  STACK_OF(X509)* const others = sk_X509_new_null();
  while (X509* next = PEM_read_X509(file->get(), nullptr, nullptr, nullptr)) {
    sk_X509_push(others, next);
  }
  Verification verification(X509_STORE_CTX_new());
  X509_STORE_CTX_init(verification.get(), store.get(), certificate, others);
  X509_STORE_CTX_set_flags(verification.get(), X509_V_FLAG_NO_CHECK_TIME);
  const bool good = X509_verify_cert(verification.get()) == 1;
  const int why = X509_STORE_CTX_get_error(verification.get());
  verification.reset();
  sk_X509_pop_free(others, X509_free);
  ERR_clear_error();
  if (good) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(chain, " is not of the authority in ", ca, " (",
                                                 X509_verify_cert_error_string(why), ")"));
}

std::vector<std::string> UrisOf(X509* certificate) {
  std::vector<std::string> uris;
  auto* const names = static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; names != nullptr && i < sk_GENERAL_NAME_num(names); ++i) {
    const GENERAL_NAME* const name = sk_GENERAL_NAME_value(names, i);
    if (name->type != GEN_URI) continue;
    const ASN1_IA5STRING* const text = name->d.uniformResourceIdentifier;
    uris.emplace_back(reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
                      static_cast<size_t>(ASN1_STRING_length(text)));
  }
  GENERAL_NAMES_free(names);
  return uris;
}

absl::Time TimeOf(const ASN1_TIME* time) {
  std::tm broken{};
  if (ASN1_TIME_to_tm(time, &broken) != 1) return absl::InfinitePast();
  return absl::FromTM(broken, absl::UTCTimeZone());
}

absl::StatusOr<OwnCertificate> Read(const TlsOptions& tls) {
  const std::string path = PathOf(tls, "cert.pem");
  absl::StatusOr<Certificate> certificate = ReadCertificate(path);
  if (!certificate.ok()) return certificate.status();
  absl::StatusOr<Key> key = ReadKey(PathOf(tls, "key.pem"));
  if (!key.ok()) return key.status();
  if (X509_check_private_key(certificate->get(), key->get()) != 1) {
    ERR_clear_error();
    return absl::InvalidArgumentError(
        absl::StrCat(PathOf(tls, "key.pem"), " is not the key of ", path));
  }
  absl::Status issuer = CheckIssuer(certificate->get(), path, PathOf(tls, "ca.pem"));
  if (!issuer.ok()) return issuer;
  absl::StatusOr<Peer> peer = PeerOfUris(UrisOf(certificate->get()));
  if (!peer.ok()) return WithContext(peer.status(), path);
  return OwnCertificate{std::move(*peer), TimeOf(X509_get0_notBefore(certificate->get())),
                        TimeOf(X509_get0_notAfter(certificate->get()))};
}

std::shared_ptr<grpc::experimental::FileWatcherCertificateProvider> Watch(const TlsOptions& tls) {
  return std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
      PathOf(tls, "key.pem"), PathOf(tls, "cert.pem"), PathOf(tls, "ca.pem"), tls.refresh_s);
}

// The chain is verified before this is asked: only whether it is a collector's is left.
class CollectorOnly final : public grpc::experimental::ExternalCertificateVerifier {
 public:
  bool Verify(grpc::experimental::TlsCustomVerificationCheckRequest* request,
              std::function<void(grpc::Status)> /*callback*/, grpc::Status* status) override {
    std::vector<std::string> uris;
    for (const grpc::string_ref& uri : request->uri_names()) {
      uris.emplace_back(uri.data(), uri.size());
    }
    const absl::StatusOr<Peer> peer = PeerOfUris(uris);
    if (!peer.ok()) {
      *status = ToGrpc(peer.status());
    } else if (peer->role != Role::kCollector) {
      *status = {
          grpc::StatusCode::UNAUTHENTICATED,
          absl::StrCat("who answers is no collector but ", RoleWord(peer->role), " ", peer->name)};
    }
    return true;
  }
  void Cancel(grpc::experimental::TlsCustomVerificationCheckRequest* /*request*/) override {}
};

}  // namespace

bool StaysOnHost(absl::string_view address) {
  if (absl::StartsWith(address, "unix:")) return true;
  const auto colon = address.rfind(':');
  const absl::string_view host = address.substr(0, colon);
  if (host == "localhost" || host == "::1" || host == "[::1]") return true;
  // 127.evil.org is a name like others.
  int dots = 0;
  for (const char c : host) {
    if (c == '.') ++dots;
    if (c != '.' && (c < '0' || c > '9')) return false;
  }
  return dots == 3 && absl::StartsWith(host, "127.");
}

bool NeedsTls(absl::string_view address, const TlsOptions& tls) {
  if (absl::StartsWith(address, "unix:")) return false;
  return !tls.folder.empty() || !StaysOnHost(address);
}

absl::StatusOr<OwnCertificate> ReadOwnCertificate(const TlsOptions& tls, Role role) {
  absl::StatusOr<OwnCertificate> own = Read(tls);
  if (!own.ok()) return Unfit(own.status().message(), role, tls);
  if (own->peer.role == role) return own;
  return Unfit(absl::StrCat(PathOf(tls, "cert.pem"), " is of ", RoleWord(own->peer.role), " ",
                            own->peer.name, ", and ", RoleWord(role), " is the role needed here"),
               role, tls);
}

std::string HowToRenew(const Peer& peer) {
  return absl::StrCat("`faultline tls ", RoleWord(peer.role), " ", peer.name,
                      " --ca DIR --renew` makes a new one, DIR being the folder of `faultline tls "
                      "init DIR`");
}

absl::Status CheckTime(const OwnCertificate& certificate, absl::Time now) {
  const absl::TimeZone utc = absl::UTCTimeZone();
  const std::string who = absl::StrCat("the certificate of ", RoleWord(certificate.peer.role), " ",
                                       certificate.peer.name);
  if (now < certificate.begin) {
    return absl::FailedPreconditionError(
        absl::StrCat(who, " is valid from ", absl::FormatTime(certificate.begin, utc),
                     " on, and this clock says ", absl::FormatTime(now, utc)));
  }
  if (now <= certificate.end) return absl::OkStatus();
  return absl::FailedPreconditionError(absl::StrCat(who, " expired on ",
                                                    absl::FormatTime(certificate.end, utc), "; ",
                                                    HowToRenew(certificate.peer)));
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> DialCredentials(absl::string_view address,
                                                                          const TlsOptions& tls,
                                                                          Role role) {
  if (!NeedsTls(address, tls)) return grpc::InsecureChannelCredentials();
  absl::StatusOr<OwnCertificate> own = ReadOwnCertificate(tls, role);
  if (!own.ok()) return own.status();
  grpc::experimental::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(Watch(tls));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  options.set_certificate_verifier(
      grpc::experimental::ExternalCertificateVerifier::Create<CollectorOnly>());
  options.set_check_call_host(false);
  return grpc::experimental::TlsCredentials(options);
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> ListenCredentials(
    absl::string_view address, const TlsOptions& tls) {
  if (!NeedsTls(address, tls)) return grpc::InsecureServerCredentials();
  absl::StatusOr<OwnCertificate> own = ReadOwnCertificate(tls, Role::kCollector);
  if (!own.ok()) return own.status();
  grpc::experimental::TlsServerCredentialsOptions options(Watch(tls));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  return grpc::experimental::TlsServerCredentials(options);
}

}  // namespace faultline
