// SPDX-License-Identifier: Apache-2.0
//
// The real faultline-injector as a kernel test runs it: its state and its sockets in a folder of
// the test's own, killed and started again at will, nothing left behind. One thread.
#pragma once

#include <fcntl.h>
#include <grpcpp/create_channel.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/status.h"
#include "faultline/v1/faults.grpc.pb.h"

namespace faultline {

class InjectorProcess {
 public:
  InjectorProcess() {
    std::string name = "/tmp/faultline-injector-XXXXXX";
    if (mkdtemp(name.data()) == nullptr) std::abort();
    folder_ = name;
  }
  ~InjectorProcess() {
    if (pid_ > 0) End(SIGTERM);
    std::filesystem::remove_all(folder_);
  }
  InjectorProcess(const InjectorProcess&) = delete;
  InjectorProcess& operator=(const InjectorProcess&) = delete;

  // Arguments of every start from now on, --undo included.
  void SetOptions(std::vector<std::string> options) { options_ = std::move(options); }

  // Starts it and waits until it answers.
  absl::Status Start() {
    pid_ = Spawn(OwnPlaces());
    for (const char* name : {"root", "agent"}) {
      auto& stub = std::string(name) == "root" ? root_ : agent_;
      // A new channel each time: an old one waits longer and longer between attempts.
      grpc::ChannelArguments own;
      own.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
      own.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 10);
      own.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 10);
      own.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 20);
      const auto channel =
          grpc::CreateCustomChannel(absl::StrCat("unix:", folder_.string(), "/run/", name, ".sock"),
                                    grpc::InsecureChannelCredentials(), own);
      const auto until = std::chrono::system_clock::now() + std::chrono::seconds(20);
      if (!channel->WaitForConnected(until)) {
        return absl::UnavailableError(absl::StrCat("the injector does not answer on ", name));
      }
      stub = v1::Faults::NewStub(channel);
    }
    return absl::OkStatus();
  }

  // Runs `--undo` to its end; its exit status.
  int Undo() {
    std::vector<std::string> words = OwnPlaces();
    words.emplace_back("--undo");
    return Run(words);
  }

  // Runs `--undo` and kills it after `us` microseconds.
  void KillAnUndoAfter(int us) {
    std::vector<std::string> words = OwnPlaces();
    words.emplace_back("--undo");
    const pid_t pid = Spawn(words);
    std::this_thread::sleep_for(std::chrono::microseconds(us));
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }

  // Starts a keeper beside it, which WaitForKeeper waits for.
  void StartKeeper() {
    std::vector<std::string> words = OwnPlaces();
    words.emplace_back("--keep");
    keeper_ = Spawn(words);
  }
  // Its exit status; -1: it still runs after `seconds`, and is ended.
  int WaitForKeeper(int seconds) {
    int status = 0;
    for (int i = 0; i < seconds * 100; ++i) {
      if (waitpid(keeper_, &status, WNOHANG) == keeper_) {
        return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    kill(keeper_, SIGKILL);
    waitpid(keeper_, &status, 0);
    return -1;
  }

  // Runs another one with `words` alone, to its end; its exit status. What it writes is in Log().
  int Run(const std::vector<std::string>& words) {
    const pid_t pid = Spawn(words);
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  // All that was written so far.
  std::string Log() const {
    std::ifstream in(folder_ / "log");
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  }

  // Ends it by `signal` and waits; its exit status, or 128 + the signal. -1: it still runs after 20
  // s, and is killed.
  int End(int signal) {
    pollfd end{static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)), POLLIN, 0};
    kill(pid_, signal);
    const bool ended = end.fd < 0 || poll(&end, 1, 20'000) == 1;
    if (end.fd >= 0) close(end.fd);
    if (!ended) kill(pid_, SIGKILL);
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    if (!ended) return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  }

  absl::StatusOr<v1::FaultState> Inject(const v1::FaultSpec& spec) {
    grpc::ClientContext context;
    v1::StartRequest request;
    *request.mutable_spec() = spec;
    v1::FaultState state;
    if (const grpc::Status status = root_->Start(&context, request, &state); !status.ok()) {
      return FromGrpc(status);
    }
    return state;
  }

  absl::StatusOr<v1::FaultState> Stop(const std::string& id) {
    grpc::ClientContext context;
    v1::StopRequest request;
    request.set_fault_id(id);
    v1::FaultState state;
    if (const grpc::Status status = root_->Stop(&context, request, &state); !status.ok()) {
      return FromGrpc(status);
    }
    return state;
  }

  v1::FaultState Find(const std::string& id) {
    grpc::ClientContext context;
    v1::ListResponse response;
    root_->List(&context, v1::ListRequest(), &response);
    for (const v1::FaultState& state : response.faults()) {
      if (state.spec().id() == id) return state;
    }
    return {};
  }

  // Waits until fault `id` is in a final phase, at most `seconds`.
  v1::FaultState WaitForEnd(const std::string& id, int seconds) {
    const std::int64_t end_ns = Clock::System().Now().boottime_ns + seconds * kNsPerSecond;
    v1::FaultState state;
    do {
      state = Find(id);
      if (state.phase() >= v1::PHASE_UNDONE) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    } while (Clock::System().Now().boottime_ns < end_ns);
    return state;
  }

  v1::Faults::Stub& root() { return *root_; }
  v1::Faults::Stub& agent() { return *agent_; }
  const std::filesystem::path& folder() const { return folder_; }
  pid_t pid() const { return pid_; }

 private:
  std::vector<std::string> OwnPlaces() const {
    std::vector<std::string> words{"--state-dir", folder_ / "state", "--run-dir", folder_ / "run"};
    words.insert(words.end(), options_.begin(), options_.end());
    return words;
  }

  // The one that was built; in a guest, which has only the packages', another.
  static std::string Program() {
    const char* const other = std::getenv("FAULTLINE_INJECTOR");
    return other == nullptr ? FAULTLINE_INJECTOR : other;
  }

  pid_t Spawn(std::vector<std::string> words) {
    words.insert(words.begin(), Program());
    std::vector<char*> argv;
    argv.reserve(words.size() + 1);
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    const std::string log = folder_ / "log";
    const pid_t pid = fork();
    if (pid != 0) return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const int fd = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(fd, STDOUT_FILENO);
    dup2(fd, STDERR_FILENO);
    execv(argv[0], argv.data());
    _exit(127);
  }

  std::filesystem::path folder_;
  std::vector<std::string> options_;
  pid_t pid_ = -1;
  pid_t keeper_ = -1;
  std::unique_ptr<v1::Faults::Stub> root_;
  std::unique_ptr<v1::Faults::Stub> agent_;
};

// A fault of `type` on `cgroup` for `seconds`.
inline v1::FaultSpec MakeSpec(const std::string& type, const std::string& id,
                              const std::string& cgroup, double seconds) {
  v1::FaultSpec spec;
  spec.set_id(id);
  spec.set_type(type);
  spec.mutable_target()->set_cgroup(cgroup);
  spec.set_duration_ns(static_cast<std::int64_t>(seconds * 1e9));
  return spec;
}

}  // namespace faultline
