// SPDX-License-Identifier: Apache-2.0
#include <linux/perf_event.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <sys/timex.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "agent/metrics/perf_source.h"
#include "base/channel.h"
#include "base/status.h"
#include "cli/client.h"
#include "cli/doctor/trials.h"
#include "cli/process.h"
#include "injector/host/ledger.h"

namespace faultline::cli::doctor {
namespace {

// As the injector's --bpffs has it by default.
constexpr char kBpffs[] = "/sys/fs/bpf";
// A program that only reads its configuration.
constexpr absl::Duration kProgramTime = absl::Seconds(5);

// By the agent's own reader, which gives nothing for a counter that stands still.
absl::Status CountCycles() {
  TextFiles files("/proc", "/sys");
  PerfSource source(&files);
  absl::Status status = source.Add(0, PerfField{PERF_TYPE_HARDWARE, PERF_COUNT_HW_CPU_CYCLES});
  if (!status.ok()) return status;
  Entities entities;
  Entity first;
  first.slot = 0;
  entities[static_cast<size_t>(faultline::Table::kCpu)] = {first};
  std::vector<Column> columns(1);
  // The first reading opens the counter; an idle CPU counts when it next wakes.
  constexpr int kReadings = 20;
  for (int i = 0; i < kReadings; ++i) {
    columns[0].values.assign(1, std::nullopt);
    source.Read(entities, &columns);
    if (columns[0].values[0].has_value()) return absl::OkStatus();
    absl::SleepFor(absl::Milliseconds(5));
  }
  return absl::UnimplementedError("the counter can be opened, and it does not count");
}

std::string ReadBack(int fd) {
  std::array<char, 2000> text{};
  const ssize_t size = ::pread(fd, text.data(), text.size(), 0);
  return std::string(absl::StripAsciiWhitespace(
      absl::string_view(text.data(), size < 0 ? 0 : static_cast<size_t>(size))));
}

// A certificate of whichever role this machine has: being allowed is not what is asked here.
absl::StatusOr<Client> DialAsAnybody(const std::string& address, const TlsOptions& tls) {
  absl::StatusOr<Client> client = Client::Dial(address, tls);
  if (client.ok() || !NeedsTls(address, tls)) return client;
  for (const Role role : {Role::kNode, Role::kCollector}) {
    const auto credentials = DialCredentials(address, tls, role);
    if (!credentials.ok()) continue;
    return Client(address, OpenChannel(address, *credentials));
  }
  return client;
}

class OfThisMachine final : public Trials {
 public:
  absl::Status Bpf(const std::string& name) override { return TryBpf(name); }
  absl::Status Qdisc(const std::string& kind) override { return TryQdisc(kind); }
  absl::Status Plane() override { return TryPlane(); }
  absl::Status Pmu() override { return CountCycles(); }
  absl::Status Bpffs() override { return CheckBpffs(kBpffs); }

  absl::StatusOr<ClockReading> ReadClock() override {
    timex reading{};
    if (::adjtimex(&reading) < 0) return ErrnoStatus(errno, "adjtimex");
    return ClockReading{(reading.status & STA_UNSYNC) == 0, reading.maxerror};
  }

  absl::StatusOr<Space> SpaceOf(const std::string& directory) override {
    struct statvfs fs {};
    if (::statvfs(directory.c_str(), &fs) != 0) {
      return ErrnoStatus(errno, absl::StrCat("look at the file system of ", directory));
    }
    const auto bytes = [&fs](fsblkcnt_t blocks) {
      return static_cast<std::int64_t>(blocks) * static_cast<std::int64_t>(fs.f_frsize);
    };
    // File systems without a fixed number of inodes say 0 of 0.
    return Space{bytes(fs.f_bavail), bytes(fs.f_blocks), (fs.f_flag & ST_RDONLY) != 0,
                 fs.f_files > 0 && fs.f_favail == 0};
  }

  absl::Status ReadAs(const std::string& user, const std::string& path) override {
    return TryReading(user, path);
  }

  absl::StatusOr<ProgramEnd> Run(const std::vector<std::string>& argv) override {
    const int said = ::memfd_create("faultline-doctor", MFD_CLOEXEC);
    if (said < 0) return ErrnoStatus(errno, "make a file for what a program says");
    const absl::Cleanup close_said = [said] { ::close(said); };
    SpawnSpec spec;
    spec.argv = argv;
    spec.out = said;
    spec.err = said;
    spec.no_input = true;
    spec.parent_death_signal = SIGKILL;
    ::sigemptyset(&spec.mask);
    absl::StatusOr<Process> process = Process::Spawn(spec);
    if (!process.ok()) return process.status();
    if (absl::Status status = process->AwaitExec(); !status.ok()) return status;
    const std::optional<int> status = process->Wait(kProgramTime);
    if (!status.has_value()) {
      process->End(absl::ZeroDuration());
      return absl::DeadlineExceededError(
          absl::StrCat(argv[0], " did not end within ", absl::FormatDuration(kProgramTime)));
    }
    return ProgramEnd{ShellStatus(*status), ReadBack(said)};
  }

  absl::StatusOr<Nodes> AskCollector(const std::string& address, const TlsOptions& tls) override {
    absl::StatusOr<Client> client = DialAsAnybody(address, tls);
    if (!client.ok()) return client.status();
    const absl::StatusOr<v1::ListNodesResponse> answer =
        Call(client->nodes(), &v1::Nodes::Stub::ListNodes, v1::ListNodesRequest());
    // A node's certificate may deliver samples and nothing else; who says so has answered.
    if (absl::IsPermissionDenied(answer.status())) return Nodes{0, 0, true};
    if (!answer.ok()) return answer.status();
    Nodes nodes;
    for (const v1::NodeStatus& node : answer->nodes()) {
      ++nodes.known;
      if (node.connected()) ++nodes.connected;
    }
    return nodes;
  }

  absl::StatusOr<v1::Capabilities> AskInjector(const std::string& address) override {
    absl::StatusOr<Client> client = Client::Dial(address, TlsOptions{});
    if (!client.ok()) return client.status();
    return Call(client->faults(), &v1::Faults::Stub::GetCapabilities, v1::CapabilitiesRequest());
  }
};

}  // namespace

std::unique_ptr<Trials> RealTrials() { return std::make_unique<OfThisMachine>(); }

}  // namespace faultline::cli::doctor
