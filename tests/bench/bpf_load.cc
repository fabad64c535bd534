// SPDX-License-Identifier: Apache-2.0
#include "tests/bench/bpf_load.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <memory>
#include <thread>

#include "base/clock.h"
#include "tests/kernel/test_cgroup.h"

namespace faultline {
namespace {

// Two threads that wake each other through pipes: a context switch per byte.
void PingPong(std::int64_t until_ns) {
  std::array<int, 2> there{};
  std::array<int, 2> back{};
  if (::pipe2(there.data(), O_CLOEXEC) != 0 || ::pipe2(back.data(), O_CLOEXEC) != 0) return;
  std::jthread echo([&] {
    char byte = 0;
    while (::read(there[0], &byte, 1) == 1 && ::write(back[1], &byte, 1) == 1) {
    }
    ::close(back[1]);
  });
  char byte = 0;
  while (Clock::System().Now().boottime_ns < until_ns) {
    for (int i = 0; i < 1000; ++i) {
      if (::write(there[1], &byte, 1) != 1 || ::read(back[0], &byte, 1) != 1) break;
    }
  }
  ::close(there[1]);
  echo.join();
  ::close(there[0]);
  ::close(back[0]);
}

// Connections to a listener of our own on loopback, one after the other.
void Connections(std::int64_t until_ns) {
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  // POSIX asks for these casts.
  auto* raw = reinterpret_cast<sockaddr*>(&address);
  if (::bind(listener, raw, size) != 0 || ::listen(listener, 16) != 0) {
    ::close(listener);
    return;
  }
  ::getsockname(listener, raw, &size);
  const std::array<char, 256> data{};
  std::array<char, 256> got{};
  while (Clock::System().Now().boottime_ns < until_ns) {
    const int out = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (::connect(out, raw, size) == 0) {
      const int in = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
      for (int i = 0; i < 4; ++i) {
        if (::write(out, data.data(), data.size()) > 0) {
          [[maybe_unused]] const ssize_t read = ::read(in, got.data(), got.size());
        }
      }
      ::close(in);
    }
    ::close(out);
  }
  ::close(listener);
}

void SyncedWrites(const std::string& folder, std::int64_t until_ns) {
  const std::string path = folder + "/synced";
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  const std::string page(4096, 'x');
  for (off_t at = 0; Clock::System().Now().boottime_ns < until_ns; at = (at + 4096) % (1 << 24)) {
    if (::pwrite(fd, page.data(), page.size(), at) < 0 || ::fdatasync(fd) != 0) break;
  }
  ::close(fd);
  ::unlink(path.c_str());
}

// Short-lived processes, one after the other, with some page faults each.
void Forks(std::int64_t until_ns) {
  while (Clock::System().Now().boottime_ns < until_ns) {
    const pid_t pid = ::fork();
    if (pid == 0) ::_exit(0);
    if (pid < 0) return;
    int status = 0;
    ::waitpid(pid, &status, 0);
  }
}

// Reads a file of four times the group's memory limit over and over: each read has to free pages.
absl::StatusOr<std::unique_ptr<TestCgroup>> StartReclaim(const std::string& folder) {
  constexpr size_t kLimit = 16 << 20;
  absl::StatusOr<std::unique_ptr<TestCgroup>> group = TestCgroup::Create("bench");
  if (!group.ok()) return group.status();
  const char* file =
      (*group)->tree().For("memory") != nullptr && !(*group)->tree().For("memory")->v2
          ? "memory.limit_in_bytes"
          : "memory.max";
  // Where the controller is not in the group the rest of the load goes on.
  (void)(*group)->Write("memory", file, std::to_string(kLimit));
  const absl::StatusOr<pid_t> reader = (*group)->Spawn([&folder] {
    const std::string path = folder + "/cached";
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ::unlink(path.c_str());
    std::string chunk(1 << 20, 'x');
    for (size_t i = 0; i < 4 * kLimit / chunk.size(); ++i) {
      if (::write(fd, chunk.data(), chunk.size()) < 0) return 1;
    }
    for (size_t i = 0;; ++i) {
      const auto at = static_cast<off_t>(i * chunk.size() % (4 * kLimit));
      if (::pread(fd, chunk.data(), chunk.size(), at) < 0) return 1;
    }
  });
  if (!reader.ok()) return reader.status();
  return group;
}

}  // namespace

absl::Status RunBpfLoad(const std::string& folder, std::int64_t until_ns) {
  const absl::StatusOr<std::unique_ptr<TestCgroup>> reclaim = StartReclaim(folder);
  if (!reclaim.ok()) return reclaim.status();
  std::jthread network([until_ns] { Connections(until_ns); });
  std::jthread disk([&folder, until_ns] { SyncedWrites(folder, until_ns); });
  std::jthread forks([until_ns] { Forks(until_ns); });
  PingPong(until_ns);
  return absl::OkStatus();
}

}  // namespace faultline
