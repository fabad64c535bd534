// SPDX-License-Identifier: Apache-2.0
//
// The other end of the line: the collector, or a node's injector on its Unix socket. Every call has
// a deadline and comes back as absl::Status. Owned by one command; one thread.
#pragma once

#include <grpcpp/grpcpp.h>

#include <chrono>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/credentials.h"
#include "base/status.h"
#include "faultline/v1/datasets.grpc.pb.h"
#include "faultline/v1/faults.grpc.pb.h"

namespace faultline::cli {

// What is on stored state answers at once.
constexpr std::chrono::seconds kCallTimeout{10};
// Start, Stop and Halt return when the kernel confirmed.
constexpr std::chrono::seconds kFaultTimeout{30};
// A run may be days long.
constexpr std::chrono::seconds kExportTimeout{3600};

class Client {
 public:
  // `address`: "HOST:PORT" or "unix:/PATH". Does not connect yet. FailedPrecondition: it needs a
  // certificate that is not there, or not valid now.
  static absl::StatusOr<Client> Dial(const std::string& address, const TlsOptions& tls);
  // On a channel of the caller's, for tests.
  Client(std::string address, const std::shared_ptr<grpc::Channel>& channel);

  const std::string& address() const { return address_; }

  v1::Faults::Stub& faults() { return *faults_; }
  v1::Nodes::Stub& nodes() { return *nodes_; }
  v1::Runs::Stub& runs() { return *runs_; }
  v1::Datasets::Stub& datasets() { return *datasets_; }

 private:
  std::string address_;
  std::unique_ptr<v1::Faults::Stub> faults_;
  std::unique_ptr<v1::Nodes::Stub> nodes_;
  std::unique_ptr<v1::Runs::Stub> runs_;
  std::unique_ptr<v1::Datasets::Stub> datasets_;
};

// `status` of a call that we did not cancel ourselves: CANCELLED is then the other end's doing,
// Unavailable if it went away and Aborted if it says why. Cancelled is left for the user's Ctrl-C.
absl::Status FromServer(const grpc::Status& status);

// One unary call: Call(client.faults(), &v1::Faults::Stub::Stop, request, kFaultTimeout).
template <typename Stub, typename Request, typename Response>
absl::StatusOr<Response> Call(
    Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
    const Request& request, std::chrono::milliseconds timeout = kCallTimeout) {
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + timeout);
  Response response;
  const absl::Status status = FromServer((stub.*method)(&context, request, &response));
  if (!status.ok()) return status;
  return response;
}

}  // namespace faultline::cli
