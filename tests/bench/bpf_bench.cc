// SPDX-License-Identifier: Apache-2.0
#include <bpf/bpf.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <map>
#include <set>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "tests/bench/figure.h"
#include "tests/child.h"

namespace faultline {
namespace {

constexpr std::int64_t kLoadNs = 8 * kNsPerSecond;

struct Cost {
  std::string name;
  std::uint64_t run_time_ns = 0;
  std::uint64_t runs = 0;
};

// Every program in the kernel by id, with its counts since it was loaded.
std::map<std::uint32_t, Cost> Programs() {
  std::map<std::uint32_t, Cost> programs;
  std::uint32_t id = 0;
  while (bpf_prog_get_next_id(id, &id) == 0) {
    const int fd = bpf_prog_get_fd_by_id(id);
    if (fd < 0) continue;
    bpf_prog_info info{};
    std::uint32_t size = sizeof(info);
    if (bpf_obj_get_info_by_fd(fd, &info, &size) == 0) {
      programs[id] = {info.name, info.run_time_ns, info.run_cnt};
    }
    ::close(fd);
  }
  return programs;
}

// The programs that appeared since `before`.
std::set<std::uint32_t> NewSince(const std::map<std::uint32_t, Cost>& before) {
  std::set<std::uint32_t> ids;
  for (const auto& [id, cost] : Programs()) {
    if (!before.contains(id)) ids.insert(id);
  }
  return ids;
}

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

double PerRun(const Cost& cost) {
  return static_cast<double>(cost.run_time_ns) / static_cast<double>(cost.runs);
}

}  // namespace

absl::StatusOr<Figures> BenchBpf(const BenchPlace& place) {
  // The switch holds as long as the descriptor, and cannot stay behind.
  const int stats = bpf_enable_stats(BPF_STATS_RUN_TIME);
  if (stats < 0) return absl::FailedPreconditionError("the kernel counts no BPF run time");
  const std::map<std::uint32_t, Cost> before = Programs();
  Child agent({place.bin + "/faultline-agent", "--node", "bench", "--collector",
               "unix:" + place.temp + "/nobody-listens"},
              {place.temp + "/agent.log", kNobody});
  Clock& clock = Clock::System();
  clock.WaitUntil(clock.Now().boottime_ns + 4 * kNsPerSecond, {});
  const std::set<std::uint32_t> ours = NewSince(before);
  Child runqlat({"/usr/sbin/runqlat", "60", "1"}, {place.temp + "/runqlat.log", -1});
  clock.WaitUntil(clock.Now().boottime_ns + 3 * kNsPerSecond, {});
  const std::map<std::uint32_t, Cost> start = Programs();
  const std::int64_t until = clock.Now().boottime_ns + kLoadNs;
  {
    std::jthread network([until] { Connections(until); });
    std::jthread disk([&place, until] { SyncedWrites(place.temp, until); });
    PingPong(until);
  }
  Cost peer;
  Figures figures;
  std::vector<Cost> costs;
  for (const auto& [id, end] : Programs()) {
    if (!start.contains(id) || before.contains(id)) continue;
    const Cost& begin = start.at(id);
    const Cost cost{end.name, end.run_time_ns - begin.run_time_ns, end.runs - begin.runs};
    if (cost.runs == 0) continue;
    if (ours.contains(id)) {
      costs.push_back(cost);
    } else if (absl::StartsWith(cost.name, "sched_switch")) {
      peer = cost;
    }
  }
  ::close(stats);
  if (peer.runs == 0 || costs.empty()) {
    return absl::InternalError(absl::StrCat("no program ran: ", Slurp(place.temp + "/agent.log"),
                                            Slurp(place.temp + "/runqlat.log")));
  }
  for (const Cost& cost : costs) {
    figures.push_back({absl::StrCat("BPF program ", cost.name),
                       PerRun(cost),
                       "ns per event",
                       "runqlat's sched_switch",
                       PerRun(peer),
                       2.0,
                       {}});
  }
  return figures;
}

}  // namespace faultline
