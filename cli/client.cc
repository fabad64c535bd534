// SPDX-License-Identifier: Apache-2.0
#include "cli/client.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/channel.h"
#include "base/status.h"

namespace faultline::cli {
namespace {

// A command is over in a moment: what would be refused at the other end is said here, in words.
absl::Status CheckOwn(const TlsOptions& tls) {
  const absl::StatusOr<OwnCertificate> own = ReadOwnCertificate(tls, Role::kOperator);
  return own.ok() ? CheckTime(*own, absl::Now()) : own.status();
}

}  // namespace

absl::Status FromServer(const grpc::Status& status) {
  if (status.error_code() != grpc::StatusCode::CANCELLED) return FromGrpc(status);
  // gRPC's own words for a server that shuts down.
  const std::string& why = status.error_message();
  if (why.empty() || absl::EqualsIgnoreCase(why, "cancelled") || why == "Cancelling all calls") {
    return absl::UnavailableError("the other end ended the call");
  }
  return absl::AbortedError(why);
}

absl::StatusOr<Client> Client::Dial(const std::string& address, const TlsOptions& tls) {
  const auto credentials = DialCredentials(address, tls, Role::kOperator);
  absl::Status status = credentials.status();
  if (status.ok() && NeedsTls(address, tls)) status = CheckOwn(tls);
  if (!status.ok()) return WithContext(status, absl::StrCat("dialling ", address));
  return Client(address, OpenChannel(address, *credentials));
}

Client::Client(std::string address, const std::shared_ptr<grpc::Channel>& channel)
    : address_(std::move(address)),
      faults_(v1::Faults::NewStub(channel)),
      nodes_(v1::Nodes::NewStub(channel)),
      runs_(v1::Runs::NewStub(channel)),
      datasets_(v1::Datasets::NewStub(channel)) {}

}  // namespace faultline::cli
