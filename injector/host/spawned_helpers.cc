// SPDX-License-Identifier: Apache-2.0
#include "injector/host/spawned_helpers.h"

#include <dirent.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <iterator>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/clock.h"
#include "base/status.h"
#include "injector/host/hold.h"
#include "injector/host/process.h"
#include "injector/host/text_file.h"

namespace faultline {
namespace {

constexpr std::int64_t kHelperMomentNs = 10 * kNsPerMs;
constexpr std::int64_t kHelperMomentsNs = 40 * kNsPerMs;
constexpr std::int64_t kHelperMomentsEveryNs = 100 * kNsPerMs;

// The end of a helper behind a pidfd.
class HelperEnd {
 public:
  explicit HelperEnd(std::shared_ptr<Moments> moments) : moments_(std::move(moments)) {}

  // As RunningHelper::End, of one that has been told to end.
  absl::Status End(const Descriptor& pidfd, pid_t pid, bool kill) {
    if (kill && PidfdKill(pidfd.get()) != 0 && errno != ESRCH) {
      return ErrnoStatus(errno, absl::StrCat("kill helper process ", pid));
    }
    const bool first = !std::exchange(asked_, true);
    const bool ended =
        first ? moments_->EndsWithin(pidfd.get()) : faultline::HasEnded(pidfd.get(), 0);
    if (ended) return absl::OkStatus();
    return absl::UnavailableError(absl::StrCat("helper process ", pid, " has not ended yet"));
  }

 private:
  const std::shared_ptr<Moments> moments_;
  bool asked_ = false;
};

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

// Descriptors that a child gets. `feed` is -1 where there is none.
struct ChildFiles {
  int commands = -1;
  int report = -1;
  int feed = -1;
};

// The child gets its descriptors, nothing else of ours, no blocked signal, and a process group of
// its own, so that a Ctrl-C meant for us does not end it before the undo does.
absl::StatusOr<pid_t> Spawn(const std::string& path, const HelperOrder& order,
                            const ChildFiles& ours) {
  FileActions files;
  ::posix_spawn_file_actions_adddup2(&files.actions, ours.commands, kHoldCommandFd);
  ::posix_spawn_file_actions_addopen(&files.actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  ::posix_spawn_file_actions_addopen(&files.actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  ::posix_spawn_file_actions_adddup2(&files.actions, ours.report, kHoldReportFd);
  if (ours.feed >= 0) {
    ::posix_spawn_file_actions_adddup2(&files.actions, ours.feed, kHoldFeedFd);
  }
  ::posix_spawn_file_actions_addclosefrom_np(&files.actions,
                                             ours.feed >= 0 ? kHoldFeedFd + 1 : kHoldFeedFd);
  Attributes how;
  sigset_t none;
  sigset_t all;
  ::sigemptyset(&none);
  ::sigfillset(&all);
  ::posix_spawnattr_setsigmask(&how.attributes, &none);
  ::posix_spawnattr_setsigdefault(&how.attributes, &all);
  ::posix_spawnattr_setflags(
      &how.attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);

  std::vector<std::string> words{order.program};
  words.insert(words.end(), order.arguments.begin(), order.arguments.end());
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  std::array<char*, 1> environment{nullptr};
  pid_t pid = -1;
  const int error = ::posix_spawn(&pid, path.c_str(), &files.actions, &how.attributes, argv.data(),
                                  environment.data());
  if (error != 0) return ErrnoStatus(error, absl::StrCat("start ", path));
  return pid;
}

// "faultline-hold": of whatever folder, cut to what the kernel keeps of a name (TASK_COMM_LEN).
bool HasHelperName(absl::string_view name) {
  constexpr std::size_t kKept = 15;
  return std::any_of(
      std::begin(kHelperPrograms), std::end(kHelperPrograms),
      [name](absl::string_view program) { return name == program.substr(0, kKept); });
}

// Arguments of the process at `directory` if it is a helper of ours; empty if not.
std::vector<std::string> HelperWords(const std::string& directory) {
  struct stat info {};
  if (::stat(directory.c_str(), &info) != 0 || info.st_uid != ::geteuid()) return {};
  // Arguments lie in the process's memory, and who reads them waits for whoever maps or reclaims
  // there: only of one that has the name.
  const absl::StatusOr<std::string> name = ReadText(directory + "/comm");
  if (!name.ok() || !HasHelperName(absl::StripSuffix(*name, "\n"))) return {};
  const absl::StatusOr<std::string> text = ReadText(directory + "/cmdline");
  if (!text.ok()) return {};
  std::vector<std::string> words = absl::StrSplit(*text, '\0');
  for (const char* program : kHelperPrograms) {
    if (words[0] == program) return words;
  }
  return {};
}

bool IsHelperOf(const std::string& directory, const std::string& id) {
  const std::vector<std::string> words = HelperWords(directory);
  for (size_t i = 1; i + 1 < words.size(); ++i) {
    if (words[i] == kHoldFaultFlag && words[i + 1] == id) return true;
  }
  return false;
}

// The page in which a helper reports. Still readable after the file was removed.
class ReportFile final : public ReportPage {
 public:
  // A fresh one, all 0. Its page is ours, not the target's, whatever the helper writes.
  static absl::StatusOr<std::unique_ptr<ReportFile>> Make(const std::string& path);
  // Of a predecessor; null if there is none.
  static std::unique_ptr<ReportFile> Open(const std::string& path);
  ~ReportFile() override;
  ReportFile(const ReportFile&) = delete;
  ReportFile& operator=(const ReportFile&) = delete;

  HelperReport Read() const override;
  int fd() const { return fd_.get(); }

 private:
  explicit ReportFile(Descriptor fd) : fd_(std::move(fd)) {}
  bool Map();
  Descriptor fd_;
  HoldReport* report_ = nullptr;
};

class HoldProcess final : public HelperProcess {
 public:
  // `path` of its program.
  static absl::StatusOr<std::unique_ptr<HelperProcess>> Start(const std::string& path,
                                                              const HelperOrder& order,
                                                              std::shared_ptr<Moments> moments);
  ~HoldProcess() override;
  HoldProcess(const HoldProcess&) = delete;
  HoldProcess& operator=(const HoldProcess&) = delete;

  pid_t pid() const override { return pid_; }
  HelperReport Report() const override { return report_->Read(); }
  absl::Status Go() override;
  bool Running() const override { return pid_ > 0 && !HasEnded(pidfd_.get(), 0); }
  absl::Status End(bool kill) override;

 private:
  HoldProcess(std::unique_ptr<ReportFile> report, std::shared_ptr<Moments> moments)
      : report_(std::move(report)), end_(std::move(moments)) {}
  const std::unique_ptr<ReportFile> report_;
  pid_t pid_ = -1;
  Descriptor pidfd_;
  Descriptor commands_;
  HelperEnd end_;
};

// Of a process of ours that is gone.
class FoundHelper final : public RunningHelper {
 public:
  FoundHelper(pid_t pid, Descriptor pidfd, std::shared_ptr<Moments> moments)
      : pid_(pid), pidfd_(std::move(pidfd)), end_(std::move(moments)) {}
  pid_t pid() const override { return pid_; }
  bool Running() const override { return !HasEnded(pidfd_.get(), 0); }
  absl::Status End(bool kill) override { return end_.End(pidfd_, pid_, kill); }

 private:
  const pid_t pid_;
  const Descriptor pidfd_;
  HelperEnd end_;
};

bool ReportFile::Map() {
  void* page = ::mmap(nullptr, sizeof(HoldReport), PROT_READ, MAP_SHARED, fd_.get(), 0);
  if (page == MAP_FAILED) return false;
  report_ = static_cast<HoldReport*>(page);
  return true;
}

absl::StatusOr<std::unique_ptr<ReportFile>> ReportFile::Make(const std::string& path) {
  Descriptor fd(::open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd.valid()) return ErrnoStatus(errno, absl::StrCat("make the helper's report ", path));
  constexpr std::array<char, sizeof(HoldReport)> kEmpty{};
  if (::pwrite(fd.get(), kEmpty.data(), kEmpty.size(), 0) != sizeof(HoldReport)) {
    return ErrnoStatus(errno, absl::StrCat("write the helper's report ", path));
  }
  std::unique_ptr<ReportFile> file(new ReportFile(std::move(fd)));
  if (file->Map()) return file;
  return ErrnoStatus(errno, absl::StrCat("map the helper's report ", path));
}

std::unique_ptr<ReportFile> ReportFile::Open(const std::string& path) {
  Descriptor fd(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  struct stat info {};
  // A shorter one would end us when it is read.
  if (!fd.valid() || ::fstat(fd.get(), &info) != 0 || info.st_size < off_t{sizeof(HoldReport)}) {
    return nullptr;
  }
  std::unique_ptr<ReportFile> file(new ReportFile(std::move(fd)));
  return file->Map() ? std::move(file) : nullptr;
}

HelperReport ReportFile::Read() const {
  HelperReport now;
  now.held_bytes = report_->held_bytes.load();
  now.burnt_ns = report_->burnt_ns.load();
  now.group_mcpus = report_->group_mcpus.load();
  now.first_touch_ns = report_->first_touch_ns.load();
  now.last_touch_ns = report_->last_touch_ns.load();
  now.step_ns = report_->step_ns.load();
  now.closing_ns = report_->closing_ns.load();
  now.closed_ns = report_->closed_ns.load();
  return now;
}

ReportFile::~ReportFile() {
  if (report_ != nullptr) ::munmap(report_, sizeof(HoldReport));
}

absl::StatusOr<std::unique_ptr<HelperProcess>> HoldProcess::Start(
    const std::string& path, const HelperOrder& order, std::shared_ptr<Moments> moments) {
  absl::StatusOr<std::unique_ptr<ReportFile>> report = ReportFile::Make(order.report);
  if (!report.ok()) return report.status();
  Descriptor feed;
  if (!order.feed.empty()) {
    const Descriptor file(::open(order.feed.c_str(), O_RDONLY | O_CLOEXEC));
    // Above the numbers that the child's get, or one would replace it before its turn.
    feed = Descriptor(::fcntl(file.get(), F_DUPFD_CLOEXEC, kHoldFeedFd + 1));
    if (!feed.valid()) return ErrnoStatus(errno, absl::StrCat("open ", order.feed));
  }
  std::array<int, 2> pipe{};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) return ErrnoStatus(errno, "make a pipe");
  const Descriptor child_end(pipe[0]);
  std::unique_ptr<HoldProcess> process(new HoldProcess(*std::move(report), std::move(moments)));
  process->commands_ = Descriptor(pipe[1]);
  absl::StatusOr<pid_t> pid =
      Spawn(path, order, {child_end.get(), process->report_->fd(), feed.get()});
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

absl::Status HoldProcess::End(bool kill) {
  if (pid_ <= 0) return absl::OkStatus();
  commands_.Reset();
  if (absl::Status status = end_.End(pidfd_, pid_, kill); !status.ok()) return status;
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
  return absl::OkStatus();
}

}  // namespace

bool Moments::EndsWithin(int pidfd) {
  const std::int64_t begin_ns = Clock::System().Now().boottime_ns;
  if (begin_ns - since_ns_ > kHelperMomentsEveryNs) {
    since_ns_ = begin_ns;
    left_ns_ = kHelperMomentsNs;
  }
  const std::int64_t ms = std::clamp<std::int64_t>(left_ns_, 0, kHelperMomentNs) / kNsPerMs;
  const bool ended = HasEnded(pidfd, static_cast<int>(ms));
  left_ns_ -= Clock::System().Now().boottime_ns - begin_ns;
  return ended;
}

std::string SpawnedHelpers::PathOf(const std::string& program) const {
  return absl::StrCat(options_.programs, "/", program);
}

absl::Status SpawnedHelpers::Check(const std::string& program) const {
  const std::string path = PathOf(program);
  if (::access(path.c_str(), X_OK) == 0) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("the helper program ", path, " is not there; give its folder with --helpers"));
}

absl::StatusOr<std::string> SpawnedHelpers::Meminfo() const {
  return ReadText(options_.proc + "/meminfo");
}

std::string SpawnedHelpers::ReportPath(const std::string& id) const {
  return absl::StrCat(options_.report_dir, "/hold-", id);
}

absl::StatusOr<std::unique_ptr<HelperProcess>> SpawnedHelpers::Start(const HelperOrder& order) {
  return HoldProcess::Start(PathOf(order.program), order, moments_);
}

std::unique_ptr<ReportPage> SpawnedHelpers::OpenReport(const std::string& report) {
  return ReportFile::Open(report);
}

absl::Status SpawnedHelpers::RemoveReport(const std::string& report) {
  const bool gone = report.empty() || ::unlink(report.c_str()) == 0 || errno == ENOENT;
  return ErrnoStatus(gone ? 0 : errno, absl::StrCat("remove ", report));
}

std::vector<pid_t> SpawnedHelpers::Find(const std::string& id) const {
  std::vector<pid_t> found;
  DIR* directory = ::opendir(options_.proc.c_str());
  if (directory == nullptr) return found;
  while (const dirent* entry = ::readdir(directory)) {
    pid_t pid = 0;
    if (!absl::SimpleAtoi(entry->d_name, &pid)) continue;
    if (IsHelperOf(absl::StrCat(options_.proc, "/", pid), id)) found.push_back(pid);
  }
  ::closedir(directory);
  return found;
}

bool SpawnedHelpers::IsHelper(pid_t pid) const {
  return !HelperWords(absl::StrCat(options_.proc, "/", pid)).empty();
}

// The arguments are read after the pidfd is open: if the number has been reused in between, the
// signal goes to the process that has ended, not to the new one. The pidfd says when it is gone;
// one that dies has no arguments any more while it still gives its memory back.
absl::StatusOr<std::unique_ptr<RunningHelper>> SpawnedHelpers::Open(pid_t pid,
                                                                    const std::string& id) {
  Descriptor pidfd(PidfdOpen(pid));
  if (!pidfd.valid() && errno != ESRCH) {
    return ErrnoStatus(errno, absl::StrCat("open process ", pid));
  }
  if (!pidfd.valid() || !IsHelperOf(absl::StrCat(options_.proc, "/", pid), id)) {
    return absl::NotFoundError(absl::StrCat("process ", pid, " is no helper of fault ", id));
  }
  return std::make_unique<FoundHelper>(pid, std::move(pidfd), moments_);
}

}  // namespace faultline
