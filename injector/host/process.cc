// SPDX-License-Identifier: Apache-2.0
#include "injector/host/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "injector/host/cgroup.h"

namespace faultline {
namespace {

// A SIGKILL is acted on at once unless the task is frozen or in uninterruptible sleep.
constexpr int kDeathTimeoutMs = 1000;

bool HasEnded(int pidfd, int timeout_ms) {
  pollfd end{pidfd, POLLIN, 0};
  return ::poll(&end, 1, timeout_ms) > 0;
}

absl::Status KillAndWait(int pidfd, pid_t pid) {
  if (PidfdKill(pidfd) != 0 && errno != ESRCH) {
    return ErrnoStatus(errno, absl::StrCat("kill helper process ", pid));
  }
  if (HasEnded(pidfd, kDeathTimeoutMs)) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("helper process ", pid, " does not die"));
}

struct FileActions {
  FileActions() { ::posix_spawn_file_actions_init(&actions); }
  ~FileActions() { ::posix_spawn_file_actions_destroy(&actions); }
  FileActions(const FileActions&) = delete;
  FileActions& operator=(const FileActions&) = delete;
  posix_spawn_file_actions_t actions{};
};

struct Attributes {
  Attributes() { ::posix_spawnattr_init(&attributes); }
  ~Attributes() { ::posix_spawnattr_destroy(&attributes); }
  Attributes(const Attributes&) = delete;
  Attributes& operator=(const Attributes&) = delete;
  posix_spawnattr_t attributes{};
};

// The child gets the two descriptors, nothing else of ours, no blocked signal, and a process group
// of its own, so that a Ctrl-C meant for us does not end it before the undo does.
absl::StatusOr<pid_t> Spawn(const std::string& program, const std::vector<std::string>& arguments,
                            int commands, int report) {
  FileActions files;
  ::posix_spawn_file_actions_adddup2(&files.actions, commands, kHoldCommandFd);
  ::posix_spawn_file_actions_addopen(&files.actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  ::posix_spawn_file_actions_addopen(&files.actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  ::posix_spawn_file_actions_adddup2(&files.actions, report, kHoldReportFd);
  ::posix_spawn_file_actions_addclosefrom_np(&files.actions, kHoldReportFd + 1);
  Attributes how;
  sigset_t none;
  sigset_t all;
  ::sigemptyset(&none);
  ::sigfillset(&all);
  ::posix_spawnattr_setsigmask(&how.attributes, &none);
  ::posix_spawnattr_setsigdefault(&how.attributes, &all);
  ::posix_spawnattr_setflags(
      &how.attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);

  std::vector<std::string> words{kHoldProgram};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  std::array<char*, 1> environment{nullptr};
  pid_t pid = -1;
  const int error = ::posix_spawn(&pid, program.c_str(), &files.actions, &how.attributes,
                                  argv.data(), environment.data());
  if (error != 0) return ErrnoStatus(error, absl::StrCat("start ", program));
  return pid;
}

bool IsHelperOf(const std::string& directory, const std::string& id) {
  struct stat info {};
  if (::stat(directory.c_str(), &info) != 0 || info.st_uid != ::geteuid()) return false;
  const absl::StatusOr<std::string> text = ReadText(directory + "/cmdline");
  if (!text.ok()) return false;
  const std::vector<std::string> words = absl::StrSplit(*text, '\0');
  if (words[0] != kHoldProgram) return false;
  for (size_t i = 1; i + 1 < words.size(); ++i) {
    if (words[i] == kHoldFaultFlag && words[i + 1] == id) return true;
  }
  return false;
}

}  // namespace

// glibc 2.36 has no wrapper with these names.
int PidfdOpen(pid_t pid) { return static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)); }
int PidfdKill(int pidfd) {
  return static_cast<int>(::syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, nullptr, 0));
}

void ReapWithin(pid_t child, int timeout_ms) {
  const Descriptor pidfd(PidfdOpen(child));
  if (!pidfd.valid() || !HasEnded(pidfd.get(), timeout_ms)) ::kill(child, SIGKILL);
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
}

Descriptor& Descriptor::operator=(Descriptor&& other) noexcept {
  if (this == &other) return *this;
  Reset();
  fd_ = other.fd_;
  other.fd_ = -1;
  return *this;
}

void Descriptor::Reset() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

bool HoldReportFile::Map() {
  void* page = ::mmap(nullptr, sizeof(HoldReport), PROT_READ, MAP_SHARED, fd_.get(), 0);
  if (page == MAP_FAILED) return false;
  report_ = static_cast<HoldReport*>(page);
  return true;
}

absl::StatusOr<std::unique_ptr<HoldReportFile>> HoldReportFile::Make(const std::string& path) {
  Descriptor fd(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd.valid()) return ErrnoStatus(errno, absl::StrCat("make the helper's report ", path));
  constexpr std::array<char, sizeof(HoldReport)> kEmpty{};
  if (::pwrite(fd.get(), kEmpty.data(), kEmpty.size(), 0) != sizeof(HoldReport)) {
    return ErrnoStatus(errno, absl::StrCat("write the helper's report ", path));
  }
  std::unique_ptr<HoldReportFile> file(new HoldReportFile(std::move(fd)));
  if (file->Map()) return file;
  return ErrnoStatus(errno, absl::StrCat("map the helper's report ", path));
}

std::unique_ptr<HoldReportFile> HoldReportFile::Open(const std::string& path) {
  Descriptor fd(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  struct stat info {};
  // A shorter one would end us when it is read.
  if (!fd.valid() || ::fstat(fd.get(), &info) != 0 || info.st_size < off_t{sizeof(HoldReport)}) {
    return nullptr;
  }
  std::unique_ptr<HoldReportFile> file(new HoldReportFile(std::move(fd)));
  return file->Map() ? std::move(file) : nullptr;
}

HoldReportFile::~HoldReportFile() {
  if (report_ != nullptr) ::munmap(report_, sizeof(HoldReport));
}

absl::StatusOr<std::unique_ptr<HoldProcess>> HoldProcess::Start(
    const std::string& program, const std::vector<std::string>& arguments,
    const HoldReportFile& report) {
  std::array<int, 2> pipe{};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) return ErrnoStatus(errno, "make a pipe");
  const Descriptor child_end(pipe[0]);
  std::unique_ptr<HoldProcess> process(new HoldProcess());
  process->commands_ = Descriptor(pipe[1]);
  absl::StatusOr<pid_t> pid = Spawn(program, arguments, child_end.get(), report.fd());
  if (!pid.ok()) return pid.status();
  process->pid_ = *pid;
  // Our child keeps its number until we have waited for it.
  process->pidfd_ = Descriptor(PidfdOpen(*pid));
  if (!process->pidfd_.valid()) {
    const int error = errno;
    ::kill(*pid, SIGKILL);
    ::waitpid(*pid, nullptr, 0);
    process->pid_ = -1;
    return ErrnoStatus(error, "open the helper's pidfd");
  }
  return process;
}

HoldProcess::~HoldProcess() {
  // The end of the pipe is its order to end; waiting for it is End's business.
  commands_.Reset();
  if (pid_ > 0) ::waitpid(pid_, nullptr, WNOHANG);
}

absl::Status HoldProcess::Go() {
  const char go = 1;
  if (::write(commands_.get(), &go, 1) == 1) return absl::OkStatus();
  return ErrnoStatus(errno, absl::StrCat("start helper process ", pid_));
}

bool HoldProcess::Running() const { return pid_ > 0 && !HasEnded(pidfd_.get(), 0); }

absl::Status HoldProcess::End() {
  if (pid_ <= 0) return absl::OkStatus();
  commands_.Reset();
  if (absl::Status status = KillAndWait(pidfd_.get(), pid_); !status.ok()) return status;
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
  return absl::OkStatus();
}

std::vector<pid_t> FindHelpers(const std::string& id, const std::string& proc) {
  std::vector<pid_t> found;
  DIR* directory = ::opendir(proc.c_str());
  if (directory == nullptr) return found;
  while (const dirent* entry = ::readdir(directory)) {
    pid_t pid = 0;
    if (!absl::SimpleAtoi(entry->d_name, &pid)) continue;
    if (IsHelperOf(absl::StrCat(proc, "/", pid), id)) found.push_back(pid);
  }
  ::closedir(directory);
  return found;
}

// The arguments are read after the pidfd is open: if the number has been reused in between, the
// signal goes to the process that has ended, not to the new one.
absl::Status KillHelper(pid_t pid, const std::string& id) {
  const Descriptor pidfd(PidfdOpen(pid));
  if (!pidfd.valid()) {
    return errno == ESRCH ? absl::OkStatus()
                          : ErrnoStatus(errno, absl::StrCat("open process ", pid));
  }
  if (!IsHelperOf(absl::StrCat("/proc/", pid), id)) return absl::OkStatus();
  return KillAndWait(pidfd.get(), pid);
}

}  // namespace faultline
