// SPDX-License-Identifier: Apache-2.0
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/clock.h"
#include "base/log.h"
#include "tests/bench/figure.h"
#include "tests/child.h"

namespace faultline {
namespace {

constexpr int kSeconds = 60;
constexpr int kWarmUpSeconds = 5;
constexpr std::uint16_t kExporterPort = 19100;

// User and system time of a process, seconds.
double CpuSeconds(pid_t pid) {
  const std::string stat = Slurp(absl::StrCat("/proc/", pid, "/stat"));
  const size_t after_name = stat.rfind(')');
  if (after_name == std::string::npos) return 0;
  const std::vector<std::string> words = absl::StrSplit(stat.substr(after_name + 2), ' ');
  // Fields 14 and 15 of proc(5), counted after the name.
  std::int64_t user = 0;
  std::int64_t system = 0;
  if (words.size() < 13 || !absl::SimpleAtoi(words[11], &user) ||
      !absl::SimpleAtoi(words[12], &system)) {
    return 0;
  }
  return static_cast<double>(user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

double PssBytes(pid_t pid) {
  std::istringstream in(Slurp(absl::StrCat("/proc/", pid, "/smaps_rollup")));
  for (std::string line; std::getline(in, line);) {
    std::int64_t kib = 0;
    const std::vector<std::string> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (words.size() == 3 && words[0] == "Pss:" && absl::SimpleAtoi(words[1], &kib)) {
      return static_cast<double>(kib) * 1024;
    }
  }
  return 0;
}

// One scrape as Prometheus does it; the number of series, 0 if nobody answers.
int Scrape() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(kExporterPort);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string text;
  // POSIX asks for this cast.
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
    const std::string request = "GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n";
    if (::write(fd, request.data(), request.size()) > 0) {
      std::array<char, 65536> buffer{};
      for (ssize_t got = 0; (got = ::read(fd, buffer.data(), buffer.size())) > 0;) {
        text.append(buffer.data(), static_cast<size_t>(got));
      }
    }
  }
  ::close(fd);
  int series = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (absl::StartsWith(line, "node_")) ++series;
  }
  return series;
}

void SleepUntil(std::int64_t boottime_ns) { Clock::System().WaitUntil(boottime_ns, {}); }

}  // namespace

absl::Status BenchAgent(const BenchPlace& place, Figures* figures) {
  const std::string address_file = place.temp + "/collector.address";
  Child collector({place.bin + "/faultline-collector", "--listen", "127.0.0.1:0", "--state-dir",
                   place.temp + "/collector", "--address-file", address_file},
                  {place.temp + "/collector.log", -1});
  if (!WaitForFile(address_file, 10 * kNsPerSecond)) {
    return absl::InternalError("the collector does not start: " +
                               Slurp(place.temp + "/collector.log"));
  }
  std::string address = Slurp(address_file);
  address = address.substr(0, address.find('\n'));
  Child agent({place.bin + "/faultline-agent", "--node", "bench", "--collector", address},
              {place.temp + "/agent.log", kNobody});
  Child exporter({"/usr/bin/prometheus-node-exporter",
                  absl::StrCat("--web.listen-address=127.0.0.1:", kExporterPort)},
                 {place.temp + "/exporter.log", kNobody});
  Clock& clock = Clock::System();
  std::int64_t at = clock.Now().boottime_ns;
  LogInfo("agent and prometheus-node-exporter at 1 Hz for ", kWarmUpSeconds + kSeconds, " s");
  int series = 0;
  double agent_before = 0;
  double exporter_before = 0;
  for (int second = 0; second < kWarmUpSeconds + kSeconds; ++second) {
    if (second == kWarmUpSeconds) {
      agent_before = CpuSeconds(agent.pid());
      exporter_before = CpuSeconds(exporter.pid());
    }
    series = Scrape();
    SleepUntil(at += kNsPerSecond);
  }
  if (series == 0) return absl::InternalError("prometheus-node-exporter does not answer");
  if (!agent.running()) {
    return absl::InternalError("the agent ended: " + Slurp(place.temp + "/agent.log"));
  }
  const double agent_cpu = (CpuSeconds(agent.pid()) - agent_before) * 100 / kSeconds;
  const double exporter_cpu = (CpuSeconds(exporter.pid()) - exporter_before) * 100 / kSeconds;
  const char* peer = "prometheus-node-exporter scraped at 1 Hz";
  *figures = {
      {"agent CPU at 1 Hz",
       agent_cpu,
       "% of one CPU",
       peer,
       exporter_cpu,
       2.0,
       {},
       absl::StrCat("user and system time over ", kSeconds,
                    " s, the collector connected; what its BPF programs cost in other processes' "
                    "time is in the figures of the programs.")},
      {"agent memory (PSS)",
       PssBytes(agent.pid()),
       "By",
       peer,
       PssBytes(exporter.pid()),
       2.0,
       {},
       "of the process; its BPF maps lie in the kernel."},
      {"series of the peer", static_cast<double>(series), "series", "", {}, {}, {}, ""},
  };
  return absl::OkStatus();
}

}  // namespace faultline
