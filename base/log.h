// SPDX-License-Identifier: Apache-2.0
//
// Messages for people, one line each: to the journal, with fields, where systemd has connected
// stderr to it, and to stderr with a plain word everywhere else. What scripts and alerts rest on
// are the kinds of event (base/event.h). Any thread may call; a line is one system call, so lines
// do not mix.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/journald.h"

namespace faultline {

// Values are syslog's, as the prefix wants them.
enum class Severity : std::uint8_t { kError = 3, kWarning = 4, kInfo = 6, kDebug = 7 };

// Messages less severe than `severity` are dropped from now on. Default kInfo.
void SetLogThreshold(Severity severity);

void LogLine(Severity severity, absl::string_view line);
// With fields for the journal; stderr gets the line alone.
void LogEntry(Severity severity, absl::string_view line, absl::Span<const LogField> fields);

// From now on lines go to the journal at `path`, for tests; empty: to stderr. Otherwise the first
// line finds out. Before other threads log.
void LogToJournal(const std::string& path);

// What gRPC has to say for itself is dropped: what matters of it comes back as a status, and we say
// that in our words. GRPC_VERBOSITY in the environment brings it back. Before the first use of
// gRPC.
void KeepGrpcQuiet();

template <typename... Args>
void LogError(const Args&... args) {
  LogLine(Severity::kError, absl::StrCat(args...));
}
template <typename... Args>
void LogWarning(const Args&... args) {
  LogLine(Severity::kWarning, absl::StrCat(args...));
}
template <typename... Args>
void LogInfo(const Args&... args) {
  LogLine(Severity::kInfo, absl::StrCat(args...));
}

// The one way out for programming errors: says what was broken and aborts. Never for anything that
// the environment can cause.
[[noreturn]] void Bug(absl::string_view what);

}  // namespace faultline
