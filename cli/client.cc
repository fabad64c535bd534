// SPDX-License-Identifier: Apache-2.0
#include "cli/client.h"

#include "absl/strings/match.h"
#include "base/status.h"

namespace faultline::cli {
namespace {

std::shared_ptr<grpc::Channel> Connect(const std::string& address) {
  grpc::ChannelArguments arguments;
  // A proxy of the environment is for the web, not for a Unix socket or the loopback.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
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

Client::Client(const std::string& address) : Client(address, Connect(address)) {}

Client::Client(std::string address, const std::shared_ptr<grpc::Channel>& channel)
    : address_(std::move(address)),
      faults_(v1::Faults::NewStub(channel)),
      nodes_(v1::Nodes::NewStub(channel)),
      runs_(v1::Runs::NewStub(channel)),
      datasets_(v1::Datasets::NewStub(channel)) {}

}  // namespace faultline::cli
