// SPDX-License-Identifier: Apache-2.0
#include "tests/child.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/cgroup_tree.h"
#include "base/clock.h"
#include "base/log.h"

namespace faultline {
namespace {

constexpr std::int64_t kPollNs = 5 * kNsPerMs;
// From linux/capability.h of 5.8 on.
constexpr std::array<int, 2> kAgentCapabilities{CAP_PERFMON, CAP_BPF};

// In the child, between fork and exec: only what is safe there.
void BecomeUser(int user) {
  ::prctl(PR_SET_KEEPCAPS, 1);
  if (::setgroups(0, nullptr) != 0 || ::setgid(static_cast<gid_t>(user)) != 0 ||
      ::setuid(static_cast<uid_t>(user)) != 0) {
    ::_exit(126);
  }
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> data{};
  for (const int capability : kAgentCapabilities) {
    __user_cap_data_struct& word = data[static_cast<size_t>(capability) / 32];
    const auto bit = 1U << (capability % 32);
    word.permitted |= bit;
    word.effective |= bit;
    word.inheritable |= bit;
  }
  ::syscall(SYS_capset, &header, data.data());
  for (const int capability : kAgentCapabilities) {
    ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0);
  }
}

bool PollUntil(std::int64_t timeout_ns, const auto& done) {
  Clock& clock = Clock::System();
  const std::int64_t until = clock.Now().boottime_ns + timeout_ns;
  while (!done()) {
    const std::int64_t now = clock.Now().boottime_ns;
    if (now >= until) return false;
    clock.WaitUntil(now + kPollNs, {});
  }
  return true;
}

}  // namespace

Child::Child(std::vector<std::string> argv, const Options& options) {
  std::vector<char*> raw;
  for (std::string& word : argv) raw.push_back(word.data());
  raw.push_back(nullptr);
  const pid_t parent = ::getpid();
  // Opened before the change of user: a checkout in /root is closed to all others.
  const int program = ::open(raw[0], O_PATH | O_CLOEXEC);
  pid_ = ::fork();
  if (pid_ < 0) Bug("a test cannot fork");
  if (pid_ > 0) {
    ::close(program);
    return;
  }
  if (!options.output.empty()) {
    const int out = ::open(options.output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    ::dup2(out, STDOUT_FILENO);
    ::dup2(out, STDERR_FILENO);
  }
  if (options.user >= 0) BecomeUser(options.user);
  // After the change of user, which clears it.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(125);
  sigset_t none;
  ::sigemptyset(&none);
  ::pthread_sigmask(SIG_SETMASK, &none, nullptr);
  ::syscall(SYS_execveat, program, "", raw.data(), environ, AT_EMPTY_PATH);
  ::dprintf(STDERR_FILENO, "cannot run %s: %s\n", raw[0], std::strerror(errno));
  ::_exit(127);
}

Child& Child::operator=(Child&& other) noexcept {
  if (this != &other) {
    End();
    pid_ = std::exchange(other.pid_, -1);
  }
  return *this;
}

bool Child::running() {
  if (pid_ < 0) return false;
  siginfo_t info{};
  return ::waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 &&
         info.si_pid == 0;
}

void Child::Signal(int signal) const {
  if (pid_ > 0) ::kill(pid_, signal);
}

int Child::Wait(std::int64_t timeout_ns) {
  if (pid_ < 0) return -1;
  if (!PollUntil(timeout_ns, [this] { return !running(); })) return -1;
  int status = 0;
  ::waitpid(pid_, &status, 0);
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int Child::End() {
  if (pid_ < 0) return -1;
  Signal(SIGTERM);
  int status = Wait(10 * kNsPerSecond);
  if (pid_ > 0) {
    Signal(SIGKILL);
    status = Wait(10 * kNsPerSecond);
  }
  return status;
}

int RunToEnd(const std::vector<std::string>& argv, std::string* output) {
  const TempDir dir;
  Child child(argv, {dir.path() + "/output", -1});
  const int status = child.Wait(60 * kNsPerSecond);
  if (output != nullptr) *output = Slurp(dir.path() + "/output");
  return status;
}

std::string Slurp(const std::string& path) {
  std::ifstream in(path);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

bool WaitForFile(const std::string& path, std::int64_t timeout_ns) {
  return PollUntil(timeout_ns, [&path] {
    std::error_code error;
    return std::filesystem::exists(path, error) &&
           (!std::filesystem::is_regular_file(path, error) ||
            std::filesystem::file_size(path, error) > 0);
  });
}

namespace {

// Ends what is in the groups of `top` and removes them, the deepest first. Left alone where
// somebody is inside whom this pid namespace does not see.
void RemoveGroups(const std::filesystem::path& top) {
  std::vector<std::filesystem::path> groups{top};
  std::error_code error;
  for (std::filesystem::recursive_directory_iterator at(top, error), end; !error && at != end;
       at.increment(error)) {
    std::error_code ignored;
    if (at->is_directory(ignored)) groups.push_back(at->path());
  }
  PollUntil(2 * kNsPerSecond, [&groups] {
    for (auto group = groups.rbegin(); group != groups.rend(); ++group) {
      std::ifstream members(*group / "cgroup.procs");
      for (pid_t pid = 0; members >> pid;) {
        if (pid == 0) return true;
        if (pid > 1 && pid != ::getpid()) ::kill(pid, SIGKILL);
      }
      // On v1 nobody who stands still can be killed.
      std::ofstream(*group / "freezer.state") << "THAWED";
    }
    for (auto group = groups.rbegin(); group != groups.rend(); ++group) {
      if (::rmdir(group->c_str()) != 0 && errno == EBUSY) return false;
    }
    return true;
  });
}

}  // namespace

void RemoveLeftGroups(const std::string& name) {
  const absl::StatusOr<CgroupTree> tree = CgroupTree::Read();
  if (!tree.ok()) return;
  for (const CgroupTree::Hierarchy& hierarchy : tree->hierarchies()) {
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(hierarchy.mount, error)) {
      const std::string file = entry.path().filename();
      absl::string_view rest = file;
      pid_t owner = 0;
      if (!absl::ConsumePrefix(&rest, "faultline-test-")) continue;
      const std::size_t dash = rest.find('-');
      if (dash == absl::string_view::npos || !absl::SimpleAtoi(rest.substr(0, dash), &owner)) {
        continue;
      }
      const bool named = rest.substr(dash + 1) == name;
      const bool own = owner == ::getpid();
      if (name.empty() ? own : !named) continue;
      if (own || ::kill(owner, 0) != 0) RemoveGroups(entry.path());
    }
  }
}

void RemoveLeftFiles() {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/var/tmp", error)) {
    const std::string file = entry.path().filename();
    absl::string_view rest = file;
    pid_t owner = 0;
    const bool ours =
        absl::ConsumePrefix(&rest, "faultline-test-") && absl::SimpleAtoi(rest, &owner);
    if (ours && ::kill(owner, 0) != 0) std::filesystem::remove(entry.path(), error);
  }
}

std::string BinDir() {
  const char* dir = std::getenv("FAULTLINE_BIN_DIR");
  if (dir == nullptr) Bug("FAULTLINE_BIN_DIR is not set; run this by ctest or ./run");
  return dir;
}

TempDir::TempDir() {
  std::string pattern = std::filesystem::temp_directory_path().string() + "/faultline-test-XXXXXX";
  if (::mkdtemp(pattern.data()) == nullptr) Bug("a test cannot make a temporary folder");
  path_ = pattern;
  // Sockets and state of a program that runs as another user live below.
  ::chmod(path_.c_str(), 0755);
}

TempDir::~TempDir() {
  std::error_code error;
  std::filesystem::remove_all(path_, error);
}

}  // namespace faultline
