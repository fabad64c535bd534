// SPDX-License-Identifier: Apache-2.0
#include "injector/server.h"

#include <grp.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server_builder.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "base/status.h"
#include "injector/service.h"

namespace faultline {
namespace {

// A spec is some hundred bytes.
constexpr int kMaxMessageBytes = 256 * 1024;
constexpr std::chrono::milliseconds kShutdown{200};
constexpr mode_t kRunDirMode = 0755;
constexpr mode_t kAgentMode = 0660;

absl::Status OpenToGroup(const std::string& path, const std::string& group) {
  const struct group* entry = ::getgrnam(group.c_str());
  if (entry == nullptr) {
    LogInfo("there is no group ", group, ": ", path, " is root's");
    return absl::OkStatus();
  }
  if (::chown(path.c_str(), 0, entry->gr_gid) != 0 || ::chmod(path.c_str(), kAgentMode) != 0) {
    return ErrnoStatus(errno, absl::StrCat("give ", path, " to group ", group));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Server::Socket> Server::Listen(const std::string& path, Controller* controller,
                                              bool may_release) {
  Socket socket;
  socket.service = MakeFaultsService(controller, may_release);
  grpc::ServerBuilder builder;
  int bound = 0;
  // The file mode is the credential.
  builder.AddListeningPort(absl::StrCat("unix:", path), grpc::InsecureServerCredentials(), &bound);
  builder.RegisterService(socket.service.get());
  builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
  socket.server = builder.BuildAndStart();
  struct stat info {};
  if (socket.server == nullptr || ::stat(path.c_str(), &info) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("listen on ", path, ": the folder is missing, or another process has it"));
  }
  return socket;
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const Options& options,
                                                      Controller* controller) {
  if (::mkdir(options.run_dir.c_str(), kRunDirMode) != 0 && errno != EEXIST) {
    return ErrnoStatus(errno, absl::StrCat("make ", options.run_dir));
  }
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  std::unique_ptr<Server> server(new Server());
  absl::StatusOr<Socket> root = Listen(options.run_dir + "/root.sock", controller, true);
  if (!root.ok()) return root.status();
  server->root_ = std::move(*root);
  const std::string agent_path = options.run_dir + "/agent.sock";
  absl::StatusOr<Socket> agent = Listen(agent_path, controller, false);
  if (!agent.ok()) return agent.status();
  server->agent_ = std::move(*agent);
  if (absl::Status status = OpenToGroup(agent_path, options.group); !status.ok()) return status;
  return server;
}

Server::~Server() {
  // A client that does not read would hold the end up for as long as it is given.
  const auto until = std::chrono::system_clock::now() + kShutdown;
  for (Socket* socket : {&agent_, &root_}) {
    if (socket->server == nullptr) continue;
    socket->server->Shutdown(until);
    socket->server->Wait();
  }
}

}  // namespace faultline
