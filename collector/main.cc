// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdint>
#include <ctime>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/event.h"
#include "base/log.h"
#include "base/memory_limit.h"
#include "base/supervisor.h"
#include "collector/address_file.h"
#include "collector/collector.h"
#include "collector/options.h"

namespace {

// Exit codes that every program of Faultline shares.
constexpr int kFailed = 1;
constexpr int kUsage = 2;

// What it takes beside what gRPC buffers: the store's cache, batches that are parsed, an export.
constexpr std::int64_t kRestBytes = std::int64_t{128} << 20;

void Print(int fd, const std::string& text) {
  // A closed stdout is not our trouble.
  [[maybe_unused]] const ssize_t written = ::write(fd, text.data(), text.size());
}

// A start that fails is an event, so that it is found in a fleet.
int CannotStart(const absl::Status& why) {
  faultline::LogEvent(faultline::Event::kCannotStart, {{faultline::kReasonField, why.message()}},
                      why.message());
  return kFailed;
}

// A full disk is not mended by a restart, which would only cut off who reads and exports: nodes
// keep what they have, and store_failed says what is wrong.
bool IsAtWork(const absl::Status& committed) {
  return committed.ok() || absl::IsResourceExhausted(committed);
}

// Until a signal comes the supervisor hears of us each time that the store's writer has committed.
void WaitForSignal(const sigset_t& stop, faultline::Store& store,
                   faultline::Supervisor* supervisor) {
  const std::int64_t every_ns = supervisor->alive_every_ns();
  const timespec every{every_ns / faultline::kNsPerSecond, every_ns % faultline::kNsPerSecond};
  while (::sigtimedwait(&stop, nullptr, every_ns == 0 ? nullptr : &every) < 0) {
    if (errno == EINTR) continue;
    store.Probe([supervisor](const absl::Status& committed) {
      if (!IsAtWork(committed)) return;
      supervisor->Alive(faultline::Clock::System().Now().boottime_ns);
    });
  }
}

}  // namespace

int main(int argc, char** argv) {
  const auto options = faultline::ParseCollectorOptions(argc, argv);
  if (absl::IsCancelled(options.status())) {
    Print(STDOUT_FILENO, std::string(options.status().message()));
    return 0;
  }
  if (!options.ok()) {
    if (!options.status().message().empty()) CannotStart(options.status());
    return kUsage;
  }
  faultline::KeepGrpcQuiet();
  // What nodes tell is for the collector and its group.
  ::umask(0027);
  faultline::WarnOfMemory("--grpc-memory", options->grpc_memory_bytes, kRestBytes,
                          faultline::OwnMemoryMax());
  // Outlives the collector, whose writer speaks to it.
  faultline::Supervisor supervisor = faultline::Supervisor::FromEnvironment();
  // Before any thread exists, so that all of them leave the signals to us.
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTERM);
  sigaddset(&stop, SIGINT);
  pthread_sigmask(SIG_BLOCK, &stop, nullptr);
  ::signal(SIGPIPE, SIG_IGN);

  auto collector = faultline::Collector::Start(*options, &faultline::Clock::System());
  if (!collector.ok()) return CannotStart(collector.status());
  const auto written = faultline::WriteAddressFile(options->address_file, (*collector)->address());
  if (!written.ok()) return CannotStart(written);
  Print(STDOUT_FILENO, absl::StrCat("listening on ", (*collector)->address(), "\n"));
  supervisor.Ready(absl::StrCat("listening on ", (*collector)->address()));
  // Not the address: Print has said it.
  faultline::LogEvent(faultline::Event::kCollectorReady,
                      {{faultline::kAddressField, (*collector)->address()}}, "faultline-collector ",
                      FAULTLINE_VERSION, " is ready");
  WaitForSignal(stop, (*collector)->store(), &supervisor);
  supervisor.Stopping();
  faultline::LogEvent(faultline::Event::kStopping, {}, "stopping: storing what was delivered");
  collector->reset();
  return 0;
}
