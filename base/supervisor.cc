// SPDX-License-Identifier: Apache-2.0
#include "base/supervisor.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdlib>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/log.h"

namespace faultline {
namespace {

constexpr std::int64_t kNsPerUs = 1000;

std::string Take(const char* name) {
  const char* value = std::getenv(name);
  std::string taken = value == nullptr ? "" : value;
  ::unsetenv(name);
  return taken;
}

// -1 and a warning if that does not work: the service is worth more than its supervision.
int Connect(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) {
    LogWarning("systemd's notification socket ", path, " has too long a name");
    return -1;
  }
  path.copy(address.sun_path, path.size());
  const bool abstract = path[0] == '@';
  if (abstract) address.sun_path[0] = '\0';
  const size_t length = offsetof(sockaddr_un, sun_path) + path.size() + (abstract ? 0 : 1);
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), static_cast<socklen_t>(length)) ==
      0) {
    return fd;
  }
  LogWarning("systemd's notification socket ", path, " cannot be reached");
  if (fd >= 0) ::close(fd);
  return -1;
}

}  // namespace

Supervisor Supervisor::FromEnvironment() {
  const std::string address = Take("NOTIFY_SOCKET");
  const std::string usec = Take("WATCHDOG_USEC");
  const std::string pid = Take("WATCHDOG_PID");
  std::int64_t watchdog_us = 0;
  if (!absl::SimpleAtoi(usec, &watchdog_us) || watchdog_us < 0) watchdog_us = 0;
  if (!pid.empty() && pid != absl::StrCat(::getpid())) watchdog_us = 0;
  return Supervisor(address, watchdog_us * kNsPerUs);
}

Supervisor::Supervisor(const std::string& address, std::int64_t watchdog_ns)
    : socket_(address.empty() ? -1 : Connect(address)),
      watchdog_ns_(socket_ < 0 ? 0 : watchdog_ns) {}

Supervisor::Supervisor(Supervisor&& other) noexcept
    : socket_(std::exchange(other.socket_, -1)), watchdog_ns_(other.watchdog_ns_) {}

Supervisor::~Supervisor() {
  if (socket_ >= 0) ::close(socket_);
}

void Supervisor::Ready(absl::string_view status) { Say(absl::StrCat("READY=1\nSTATUS=", status)); }

void Supervisor::Stopping() { Say("STOPPING=1"); }

void Supervisor::Alive(std::int64_t boottime_ns) {
  if (watchdog_ns_ == 0) return;
  std::int64_t last = last_alive_ns_.load();
  if (last != 0 && boottime_ns - last < alive_every_ns()) return;
  // Of two threads at once one speaks.
  if (last_alive_ns_.compare_exchange_strong(last, boottime_ns)) Say("WATCHDOG=1");
}

void Supervisor::ExpectEvery(std::int64_t ns) {
  if (watchdog_ns_ == 0 || watchdog_ns_ >= 3 * ns) return;
  watchdog_ns_ = 3 * ns;
  Say(absl::StrCat("WATCHDOG_USEC=", watchdog_ns_ / kNsPerUs));
}

void Supervisor::Say(absl::string_view text) {
  if (socket_ < 0) return;
  [[maybe_unused]] const ssize_t sent = ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL);
}

}  // namespace faultline
