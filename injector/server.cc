// SPDX-License-Identifier: Apache-2.0
#include "injector/server.h"

#include <grp.h>
#include <grpc/support/log.h>
#include <grpcpp/ext/proto_server_reflection_plugin.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/server_builder.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
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

constexpr const char* kSocketNames[] = {"root.sock", "agent.sock"};

std::string PathOf(const Server::Options& options, const char* name) {
  return absl::StrCat(options.run_dir, "/", name);
}

// gRPC writes what it cannot do to stderr, with file, line and errno. While the sockets are made
// this is the reason in our own sentence; later it is a warning like any other.
class GrpcLog {
 public:
  static void Capture() { gpr_set_log_function(&Line); }
  static std::string StopCapturing() {
    const absl::MutexLock lock(&mutex_);
    capturing_ = false;
    return last_error_;
  }

 private:
  static void Line(gpr_log_func_args* args) {
    const absl::MutexLock lock(&mutex_);
    if (args->severity != GPR_LOG_SEVERITY_ERROR) return;
    last_error_ = args->message;
    if (!capturing_) LogWarning("gRPC: ", args->message);
  }

  ABSL_CONST_INIT static absl::Mutex mutex_;
  static std::string last_error_ ABSL_GUARDED_BY(mutex_);
  static bool capturing_ ABSL_GUARDED_BY(mutex_);
};

ABSL_CONST_INIT absl::Mutex GrpcLog::mutex_(absl::kConstInit);
std::string GrpcLog::last_error_;
bool GrpcLog::capturing_ = true;

// gRPC would put its socket in the place of whatever socket is there.
absl::Status CheckFree(const std::string& path) {
  sockaddr_un address{};
  if (path.size() >= sizeof(address.sun_path)) {
    return absl::InvalidArgumentError(absl::StrCat("the socket's path ", path, " has more than ",
                                                   sizeof(address.sun_path) - 1,
                                                   " bytes; give a shorter --run-dir"));
  }
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) {
    if (errno == ENOENT) return absl::OkStatus();
    return ErrnoStatus(errno, absl::StrCat("look for a socket at ", path));
  }
  if (!S_ISSOCK(info.st_mode)) {
    return absl::FailedPreconditionError(absl::StrCat("something that is no socket is at ", path,
                                                      "; remove it or give another --run-dir"));
  }
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, path.size());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  const bool answers =
      ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 ||
      errno == EAGAIN;
  ::close(fd);
  if (!answers) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("another process listens on ", path,
                   ", probably a faultline-injector: stop it first, or give another --run-dir"));
}

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
        absl::StrCat("cannot listen on ", path, ": ", GrpcLog::StopCapturing()));
  }
  return socket;
}

absl::Status Server::Check(const Options& options) {
  for (const char* name : kSocketNames) {
    if (absl::Status free = CheckFree(PathOf(options, name)); !free.ok()) return free;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const Options& options,
                                                      Controller* controller) {
  GrpcLog::Capture();
  // Whatever the umask: the group finds its socket in it.
  if (::mkdir(options.run_dir.c_str(), kRunDirMode) == 0) {
    if (::chmod(options.run_dir.c_str(), kRunDirMode) != 0) {
      return ErrnoStatus(errno, absl::StrCat("open ", options.run_dir, " to its group"));
    }
  } else if (errno != EEXIST) {
    return ErrnoStatus(errno, absl::StrCat("make ", options.run_dir));
  }
  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  std::unique_ptr<Server> server(new Server());
  if (absl::Status free = Check(options); !free.ok()) return free;
  absl::StatusOr<Socket> root = Listen(PathOf(options, kSocketNames[0]), controller, true);
  if (!root.ok()) return root.status();
  server->root_ = std::move(*root);
  const std::string agent_path = PathOf(options, kSocketNames[1]);
  absl::StatusOr<Socket> agent = Listen(agent_path, controller, false);
  if (!agent.ok()) return agent.status();
  server->agent_ = std::move(*agent);
  if (absl::Status status = OpenToGroup(agent_path, options.group); !status.ok()) return status;
  GrpcLog::StopCapturing();
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
