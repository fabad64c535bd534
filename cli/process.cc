// SPDX-License-Identifier: Apache-2.0
#include "cli/process.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/status.h"

namespace faultline::cli {
namespace {

enum class Step : std::uint8_t { kJoin, kNetns, kFiles, kIdentity, kParent, kGate, kExec };

const char* Name(Step step) {
  switch (step) {
    case Step::kJoin:
      return "join the control group";
    case Step::kNetns:
      return "enter the network namespace";
    case Step::kFiles:
      return "open standard files";
    case Step::kIdentity:
      return "change user";
    case Step::kParent:
      return "bind to the parent";
    case Step::kGate:
      return "be released";
    case Step::kExec:
      return "run";
  }
  return "";
}

// What the child reports through its pipe when it cannot become the program.
struct Failure {
  Step step;
  int error;
};

// ---- In the child: system calls only. ----

bool SetCapabilities(std::uint64_t set) {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> data{};
  for (size_t i = 0; i < data.size(); ++i) {
    const auto word = static_cast<std::uint32_t>(set >> (32 * i));
    data[i] = {word, word, word};
  }
  return ::syscall(SYS_capset, &header, data.data()) == 0;
}

// glibc's wrappers would try to change every thread of a process that has only one left.
bool Become(const Identity& identity) {
  for (int cap = 0; cap <= CAP_LAST_CAP; ++cap) {
    if ((identity.capabilities >> static_cast<unsigned>(cap) & 1U) != 0) continue;
    // EINVAL: this kernel knows fewer.
    if (::prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0 && errno != EINVAL) return false;
  }
  const gid_t gid = identity.gid;
  const uid_t uid = identity.uid;
  if (::syscall(SYS_setgroups, 1, &gid) != 0) return false;
  if (::syscall(SYS_setresgid, gid, gid, gid) != 0) return false;
  if (::prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0) return false;
  if (::syscall(SYS_setresuid, uid, uid, uid) != 0) return false;
  if (!SetCapabilities(identity.capabilities)) return false;
  for (int cap = 0; cap <= CAP_LAST_CAP; ++cap) {
    if ((identity.capabilities >> static_cast<unsigned>(cap) & 1U) == 0) continue;
    if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) != 0) return false;
  }
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}

bool SetFiles(const SpawnSpec& spec) {
  if (spec.no_input) {
    const int null = ::open("/dev/null", O_RDONLY);
    if (null < 0 || ::dup2(null, STDIN_FILENO) < 0) return false;
    if (null > STDERR_FILENO) ::close(null);
  }
  if (spec.out >= 0 && ::dup2(spec.out, STDOUT_FILENO) < 0) return false;
  return spec.err < 0 || ::dup2(spec.err, STDERR_FILENO) >= 0;
}

bool Join(const std::vector<int>& groups) {
  for (const int fd : groups) {
    if (::write(fd, "0", 1) != 1) return false;
  }
  return true;
}

// After the change of user, which clears it (commit_creds). The parent may have ended before it.
bool BindToParent(int signal, pid_t parent) {
  if (signal == 0) return true;
  if (::prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0) != 0) return false;
  errno = ESRCH;
  return ::getppid() == parent;
}

bool PassGate(int gate) {
  if (gate < 0) return true;
  char byte = 0;
  errno = ECANCELED;
  return ::read(gate, &byte, 1) == 1;
}

struct Prepared {
  const SpawnSpec* spec;
  std::string program;
  // Opened by the parent if the child becomes somebody who may not reach it; else -1.
  int file;
  std::vector<char*> argv;
  pid_t parent;
  int gate;
  int failure;
};

[[noreturn]] void RunChild(const Prepared& child) {
  const SpawnSpec& spec = *child.spec;
  const auto fail = [&child](Step step) {
    const Failure failure{step, errno};
    [[maybe_unused]] const ssize_t said = ::write(child.failure, &failure, sizeof(failure));
    ::_exit(127);
  };
  // Ignored signals survive exec; ours does for broken pipes only.
  ::signal(SIGPIPE, SIG_DFL);
  ::sigprocmask(SIG_SETMASK, &spec.mask, nullptr);
  if (spec.own_group) ::setpgid(0, 0);
  if (!Join(spec.join)) fail(Step::kJoin);
  if (spec.netns >= 0 && ::setns(spec.netns, CLONE_NEWNET) != 0) fail(Step::kNetns);
  if (!SetFiles(spec)) fail(Step::kFiles);
  if (spec.identity && !Become(*spec.identity)) fail(Step::kIdentity);
  if (!BindToParent(spec.parent_death_signal, child.parent)) fail(Step::kParent);
  if (!PassGate(child.gate)) fail(Step::kGate);
  if (child.file >= 0) {
    ::syscall(SYS_execveat, child.file, "", child.argv.data(), environ, AT_EMPTY_PATH);
  } else {
    ::execve(child.program.c_str(), child.argv.data(), environ);
  }
  fail(Step::kExec);
  ::_exit(127);
}

// ---- In the parent. ----

// The file that `name` stands for. Not execvp, which hands what is no program to a shell.
std::string FindProgram(const std::string& name) {
  if (absl::StrContains(name, "/")) return name;
  const char* path = std::getenv("PATH");
  for (absl::string_view dir : absl::StrSplit(path == nullptr ? "/usr/bin:/bin" : path, ':')) {
    std::string candidate = absl::StrCat(dir.empty() ? "." : dir, "/", name);
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return name;
}

void CloseFd(int* fd) {
  if (*fd >= 0) ::close(*fd);
  *fd = -1;
}

}  // namespace

int ShellStatus(int wait_status) {
  if (WIFEXITED(wait_status)) return WEXITSTATUS(wait_status);
  return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : 1;
}

absl::StatusOr<Process> Process::Spawn(const SpawnSpec& spec) {
  std::array<int, 2> failure{-1, -1};
  std::array<int, 2> gate{-1, -1};
  if (::pipe2(failure.data(), O_CLOEXEC) != 0) return ErrnoStatus(errno, "make a pipe");
  Process process;
  process.failure_ = failure[0];
  process.program_ = spec.argv.front();
  if (spec.gated && ::pipe2(gate.data(), O_CLOEXEC) != 0) {
    ::close(failure[1]);
    return ErrnoStatus(errno, "make a pipe");
  }
  process.gate_ = gate[1];

  Prepared child{&spec, FindProgram(spec.argv.front()), -1, {}, ::getpid(), gate[0], failure[1]};
  // A checkout in /root, which is closed to all others on Debian, works all the same. Not for
  // everybody: a script cannot be run by a descriptor that closes with exec.
  if (spec.identity) child.file = ::open(child.program.c_str(), O_PATH | O_CLOEXEC);
  child.argv.reserve(spec.argv.size() + 1);
  // execve takes them as writable and does not write.
  for (const std::string& word : spec.argv) child.argv.push_back(const_cast<char*>(word.c_str()));
  child.argv.push_back(nullptr);
  process.pid_ = ::fork();
  if (process.pid_ == 0) {
    // So that the gate closes when the parent ends.
    if (gate[1] >= 0) ::close(gate[1]);
    RunChild(child);
  }
  const int error = errno;
  ::close(failure[1]);
  CloseFd(&child.file);
  CloseFd(&gate[0]);
  if (process.pid_ < 0) return ErrnoStatus(error, "fork");
  // Not reaped before, so the number is still its own.
  process.pidfd_ = static_cast<int>(::syscall(SYS_pidfd_open, process.pid_, 0));
  return process;
}

Process::~Process() { Close(); }

Process::Process(Process&& other) noexcept { *this = std::move(other); }

Process& Process::operator=(Process&& other) noexcept {
  if (this == &other) return *this;
  Close();
  pid_ = std::exchange(other.pid_, -1);
  pidfd_ = std::exchange(other.pidfd_, -1);
  gate_ = std::exchange(other.gate_, -1);
  failure_ = std::exchange(other.failure_, -1);
  program_ = std::move(other.program_);
  status_ = other.status_;
  return *this;
}

void Process::Close() {
  CloseFd(&gate_);
  CloseFd(&failure_);
  CloseFd(&pidfd_);
}

void Process::Release() {
  if (gate_ < 0) return;
  [[maybe_unused]] const ssize_t written = ::write(gate_, "g", 1);
  CloseFd(&gate_);
}

absl::Status Process::AwaitExec() {
  if (failure_ < 0) return absl::OkStatus();
  Failure failure{};
  ssize_t size = 0;
  do {
    size = ::read(failure_, &failure, sizeof(failure));
  } while (size < 0 && errno == EINTR);
  CloseFd(&failure_);
  if (size != sizeof(failure)) return absl::OkStatus();
  Wait(absl::Seconds(1));
  return ErrnoStatus(failure.error, absl::StrCat(Name(failure.step), " ", program_));
}

void Process::Signal(int signal) const {
  if (pid_ <= 0 || status_) return;
  // A child that was not reaped keeps its number, so kill is as exact where pidfds do not exist.
  if (pidfd_ < 0 || ::syscall(SYS_pidfd_send_signal, pidfd_, signal, nullptr, 0) != 0) {
    ::kill(pid_, signal);
  }
}

std::optional<int> Process::Poll() {
  if (pid_ <= 0 || status_) return status_;
  int status = 0;
  if (::waitpid(pid_, &status, WNOHANG) == pid_) status_ = status;
  return status_;
}

std::optional<int> Process::Wait(absl::Duration bound) {
  const absl::Time deadline = absl::Now() + bound;
  while (!Poll() && absl::Now() < deadline) {
    pollfd ended{pidfd_, POLLIN, 0};
    // A short bound, so that a system without pidfds is served too.
    const auto left = absl::ToInt64Milliseconds(deadline - absl::Now()) + 1;
    ::poll(&ended, 1, static_cast<int>(std::min<std::int64_t>(left, 50)));
  }
  return status_;
}

void Process::End(absl::Duration grace) {
  if (pid_ <= 0 || Poll()) return;
  Signal(SIGTERM);
  if (Wait(grace)) return;
  Signal(SIGKILL);
  Wait(absl::Seconds(5));
}

}  // namespace faultline::cli
