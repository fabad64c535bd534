// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <grpc/support/log.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <string>

namespace faultline {
namespace {

std::atomic<Severity> threshold{Severity::kInfo};

absl::string_view Word(Severity severity) {
  switch (severity) {
    case Severity::kError:
      return "error: ";
    case Severity::kWarning:
      return "warning: ";
    case Severity::kInfo:
      return "";
    case Severity::kDebug:
      return "debug: ";
  }
  return "";
}

}  // namespace

void SetLogThreshold(Severity severity) { threshold = severity; }

void LogLine(Severity severity, absl::string_view line) {
  if (severity > threshold.load(std::memory_order_relaxed)) return;
  // Set by systemd for a service whose stderr goes to the journal.
  static const bool journal = std::getenv("JOURNAL_STREAM") != nullptr;
  const std::string text = journal ? absl::StrCat("<", static_cast<int>(severity), ">", line, "\n")
                                   : absl::StrCat(Word(severity), line, "\n");
  // A log that cannot be written has nobody to be told.
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
}

void KeepGrpcQuiet() {
  if (std::getenv("GRPC_VERBOSITY") != nullptr) return;
  ::gpr_set_log_function([](gpr_log_func_args* /*line*/) {});
}

void Bug(absl::string_view what) {
  LogLine(Severity::kError, absl::StrCat("bug: ", what));
  std::abort();
}

}  // namespace faultline
