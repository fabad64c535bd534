// SPDX-License-Identifier: Apache-2.0
#include "injector/state_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <filesystem>
#include <stop_token>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/clock.h"
#include "base/status.h"
#include "injector/host/text_file.h"

namespace faultline {
namespace {

constexpr char kInjectorWord[] = "injector";
constexpr char kUndoWord[] = "undo";

// More than an undo takes: it gives up after 5 s.
constexpr std::int64_t kPatienceNs = 20 * kNsPerSecond;
constexpr std::int64_t kRetryNs = 50 * kNsPerMs;

std::string PathOf(const std::string& state_dir) { return state_dir + "/lock"; }

}  // namespace

absl::StatusOr<StateLock> StateLock::TryTake(const std::string& state_dir, Role role) {
  std::error_code error;
  std::filesystem::create_directories(state_dir, error);
  if (error) return ErrnoStatus(error.value(), absl::StrCat("make ", state_dir));
  const std::string path = PathOf(state_dir);
  Descriptor file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!file.valid()) return ErrnoStatus(errno, absl::StrCat("open ", path));
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    return absl::UnavailableError(absl::StrCat(path, " is held"));
  }
  const std::string text =
      absl::StrCat(role == Role::kInjector ? kInjectorWord : kUndoWord, " ", ::getpid(), "\n");
  if (::ftruncate(file.get(), 0) != 0 ||
      ::pwrite(file.get(), text.data(), text.size(), 0) != static_cast<ssize_t>(text.size())) {
    return ErrnoStatus(errno, absl::StrCat("write ", path));
  }
  return StateLock(std::move(file));
}

absl::StatusOr<StateLock> StateLock::Take(const std::string& state_dir, Role role) {
  Clock& clock = Clock::System();
  const std::int64_t end_ns = clock.Now().boottime_ns + kPatienceNs;
  while (true) {
    absl::StatusOr<StateLock> lock = TryTake(state_dir, role);
    if (!absl::IsUnavailable(lock.status())) return lock;
    const std::int64_t now_ns = clock.Now().boottime_ns;
    if (Injector(state_dir) != 0 || now_ns >= end_ns) {
      return absl::FailedPreconditionError(
          absl::StrCat("another faultline-injector works with ", state_dir,
                       "; stop it first, or give another --state-dir"));
    }
    clock.WaitUntil(now_ns + kRetryNs, std::stop_token());
  }
}

pid_t StateLock::Injector(const std::string& state_dir) {
  const std::string path = PathOf(state_dir);
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  // A lock that can be had is nobody's, whatever the text says.
  if (!file.valid() || ::flock(file.get(), LOCK_SH | LOCK_NB) == 0) return 0;
  const absl::StatusOr<std::string> text = ReadText(path);
  if (!text.ok()) return 0;
  const std::vector<std::string> words = absl::StrSplit(*text, ' ');
  pid_t pid = 0;
  if (words.size() != 2 || words[0] != kInjectorWord || !absl::SimpleAtoi(words[1], &pid)) return 0;
  return ::kill(pid, 0) == 0 ? pid : 0;
}

}  // namespace faultline
