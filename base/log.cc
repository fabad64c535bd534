// SPDX-License-Identifier: Apache-2.0
#include "base/log.h"

#include <grpc/support/log.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

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

std::unique_ptr<Journald> MakeSink(const std::string& path) {
  return path.empty() ? nullptr : std::make_unique<Journald>(path);
}

// Null: stderr alone.
std::unique_ptr<Journald>& Sink() {
  static std::unique_ptr<Journald> sink = MakeSink(
      IsJournalStream(std::getenv("JOURNAL_STREAM"), STDERR_FILENO) ? kJournaldSocket : "");
  return sink;
}

}  // namespace

void SetLogThreshold(Severity severity) { threshold = severity; }

void LogToJournal(const std::string& path) { Sink() = MakeSink(path); }

void LogLine(Severity severity, absl::string_view line) { LogEntry(severity, line, {}); }

void LogEntry(Severity severity, absl::string_view line, absl::Span<const LogField> fields) {
  if (severity > threshold.load(std::memory_order_relaxed)) return;
  const Journald* const journal = Sink().get();
  if (journal != nullptr) {
    const std::string priority = absl::StrCat(static_cast<int>(severity));
    std::vector<LogField> all{{"MESSAGE", line},
                              {"PRIORITY", priority},
                              {"SYSLOG_IDENTIFIER", program_invocation_short_name}};
    all.insert(all.end(), fields.begin(), fields.end());
    if (journal->Send(all)) return;
  }
  // The stream that it could not be sent beside takes the priority in front, sd-daemon(3).
  const std::string text = journal != nullptr
                               ? absl::StrCat("<", static_cast<int>(severity), ">", line, "\n")
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
