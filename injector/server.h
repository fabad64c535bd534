// SPDX-License-Identifier: Apache-2.0
//
// The injector's two Unix sockets: agent.sock for the agent's group, root.sock for root, the only
// one on which a halt can be released. No other socket is ever opened. Main owns it.
#pragma once

#include <grpcpp/server.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "injector/controller.h"

namespace faultline {

class Server {
 public:
  struct Options {
    // Directory of the sockets; made if it is missing.
    std::string run_dir;
    // Group of agent.sock; root's where it does not exist.
    std::string group;
  };

  // Whether both sockets can be had; nothing is changed. FailedPrecondition: somebody else has one.
  static absl::Status Check(const Options& options);

  // Listens. The process's umask must keep others out of a new socket (main sets 0077).
  static absl::StatusOr<std::unique_ptr<Server>> Start(const Options& options,
                                                       Controller* controller);
  // Ends open calls within 0.2 s.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

 private:
  struct Socket {
    std::unique_ptr<grpc::Service> service;
    std::unique_ptr<grpc::Server> server;
  };
  Server() = default;
  static absl::StatusOr<Socket> Listen(const std::string& path, Controller* controller,
                                       bool may_release);
  Socket agent_;
  Socket root_;
};

}  // namespace faultline
