// SPDX-License-Identifier: Apache-2.0
#include "injector/host/real_processes.h"

#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status.h"
#include "injector/host/process.h"
#include "injector/host/text_file.h"

namespace faultline {
namespace {

// Fields of /proc/PID/stat after the name, which is in brackets and may hold anything; the first is
// the third of proc(5).
constexpr size_t kFlags = 9 - 3;
constexpr size_t kStartTime = 22 - 3;
// PF_KTHREAD of include/linux/sched.h.
constexpr std::int64_t kKernelThread = 0x00200000;

absl::Status NoProcess(pid_t pid) {
  return absl::NotFoundError(absl::StrCat("there is no process ", pid));
}

// NotFound: there is no such process.
absl::StatusOr<std::int64_t> StatField(const std::string& proc, pid_t pid, size_t field) {
  const absl::StatusOr<std::string> text = ReadText(absl::StrCat(proc, "/", pid, "/stat"));
  if (!text.ok()) return NoProcess(pid);
  const size_t name_end = text->rfind(") ");
  const std::vector<std::string> fields =
      absl::StrSplit(name_end == std::string::npos ? absl::string_view()
                                                   : absl::string_view(*text).substr(name_end + 2),
                     ' ');
  std::int64_t value = 0;
  if (field < fields.size() && absl::SimpleAtoi(fields[field], &value)) return value;
  return absl::InternalError(absl::StrCat("read /proc/", pid, "/stat: unexpected text"));
}

class PidfdProcess final : public Process {
 public:
  PidfdProcess(Descriptor pidfd, pid_t pid) : pidfd_(std::move(pidfd)), pid_(pid) {}

  absl::Status Signal(int signal) override {
    // A process that has ended and waits for its parent takes a signal, without effect.
    if (Ended()) return NoProcess(pid_);
    if (PidfdSignal(pidfd_.get(), signal) == 0) return absl::OkStatus();
    if (errno == ESRCH) return NoProcess(pid_);
    return ErrnoStatus(errno, absl::StrCat("send signal ", signal, " to process ", pid_));
  }
  bool Ended() const override { return HasEnded(pidfd_.get(), 0); }

 private:
  const Descriptor pidfd_;
  const pid_t pid_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Process>> RealProcesses::Open(pid_t pid) {
  Descriptor pidfd(PidfdOpen(pid));
  if (pidfd.valid()) return std::make_unique<PidfdProcess>(std::move(pidfd), pid);
  if (errno == ESRCH) return NoProcess(pid);
  if (errno == ENOSYS) {
    return absl::UnimplementedError("this kernel has no pidfd_open: it needs Linux 5.3");
  }
  if (errno == EINVAL || errno == ENOENT) {
    return absl::InvalidArgumentError(
        absl::StrCat(pid, " is the number of a thread; name the process that it belongs to"));
  }
  return ErrnoStatus(errno, absl::StrCat("open process ", pid));
}

absl::StatusOr<std::int64_t> RealProcesses::StartTime(pid_t pid) const {
  return StatField(proc_, pid, kStartTime);
}

// The keeper and whoever undoes run this program, too.
absl::Status RealProcesses::CheckOrdinary(pid_t pid) const {
  if (pid == 1) {
    return absl::FailedPreconditionError("process 1 is the init: without it the host goes down");
  }
  const absl::StatusOr<std::int64_t> flags = StatField(proc_, pid, kFlags);
  if (!flags.ok()) return flags.status();
  if ((*flags & kKernelThread) != 0) {
    return absl::FailedPreconditionError(
        absl::StrCat("process ", pid, " is a thread of the kernel, which takes no signals"));
  }
  struct stat own {};
  struct stat its {};
  const bool ours =
      pid == ::getpid() || (::stat(absl::StrCat(proc_, "/self/exe").c_str(), &own) == 0 &&
                            ::stat(absl::StrCat(proc_, "/", pid, "/exe").c_str(), &its) == 0 &&
                            own.st_dev == its.st_dev && own.st_ino == its.st_ino);
  if (!ours) return absl::OkStatus();
  return absl::FailedPreconditionError(
      absl::StrCat("process ", pid, " is the injector itself, or its keeper"));
}

}  // namespace faultline
