// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "cli/doctor/trials.h"

namespace faultline::cli::doctor {
namespace {

struct Account {
  uid_t uid;
  gid_t gid;
  std::vector<gid_t> groups;
};

absl::StatusOr<Account> AccountOf(const std::string& user) {
  // Nothing else in this program asks for accounts, so that the one answer stays.
  const passwd* const entry = ::getpwnam(user.c_str());
  if (entry == nullptr) return absl::NotFoundError(absl::StrCat("there is no user ", user));
  Account account{entry->pw_uid, entry->pw_gid, std::vector<gid_t>(64)};
  int count = static_cast<int>(account.groups.size());
  if (::getgrouplist(user.c_str(), account.gid, account.groups.data(), &count) < 0) {
    account.groups.resize(static_cast<size_t>(count));
    ::getgrouplist(user.c_str(), account.gid, account.groups.data(), &count);
  }
  account.groups.resize(static_cast<size_t>(count));
  return account;
}

// For the rest of the calling thread. The calls themselves and not glibc's functions, which change
// every thread; with the user the capabilities to read all go too, capabilities(7).
bool Become(const Account& account) {
  return ::syscall(SYS_setgroups, account.groups.size(), account.groups.data()) == 0 &&
         ::syscall(SYS_setfsgid, account.gid) >= 0 && ::syscall(SYS_setfsuid, account.uid) >= 0;
}

}  // namespace

absl::Status TryReading(const std::string& user, const std::string& path) {
  const absl::StatusOr<Account> account = AccountOf(user);
  if (!account.ok()) return account.status();
  int error = 0;
  std::thread([&account, &path, &error] {
    errno = 0;
    const int fd = Become(*account) ? ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
    error = errno;
    if (fd < 0) return;
    error = 0;
    ::close(fd);
  }).join();
  if (error == 0) return absl::OkStatus();
  if (error == EACCES) {
    return absl::PermissionDeniedError(
        absl::StrCat(user, ", as whom the service runs, may not read ", path));
  }
  return ErrnoStatus(error, absl::StrCat("reading ", path, " as ", user));
}

}  // namespace faultline::cli::doctor
