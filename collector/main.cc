// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/log.h"
#include "collector/address_file.h"
#include "collector/collector.h"
#include "collector/options.h"

namespace {

void Print(int fd, const std::string& text) {
  // A closed stdout is not our trouble.
  [[maybe_unused]] const ssize_t written = ::write(fd, text.data(), text.size());
}

}  // namespace

int main(int argc, char** argv) {
  using faultline::LogError;
  const auto options = faultline::ParseCollectorOptions(argc, argv);
  if (absl::IsCancelled(options.status())) {
    Print(STDOUT_FILENO, std::string(options.status().message()));
    return 0;
  }
  if (!options.ok()) {
    LogError(options.status().message());
    return 2;
  }
  faultline::KeepGrpcQuiet();
  // What nodes tell is for the collector and its group.
  ::umask(0027);
  // Before any thread exists, so that all of them leave the signals to us.
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGTERM);
  sigaddset(&stop, SIGINT);
  pthread_sigmask(SIG_BLOCK, &stop, nullptr);
  ::signal(SIGPIPE, SIG_IGN);

  auto collector = faultline::Collector::Start(*options, &faultline::Clock::System());
  if (!collector.ok()) {
    LogError(collector.status().message());
    return 1;
  }
  const auto written = faultline::WriteAddressFile(options->address_file, (*collector)->address());
  if (!written.ok()) {
    LogError(written.message());
    return 1;
  }
  Print(STDOUT_FILENO, absl::StrCat("listening on ", (*collector)->address(), "\n"));
  int signal = 0;
  sigwait(&stop, &signal);
  faultline::LogInfo("stopping: storing what was delivered");
  collector->reset();
  return 0;
}
