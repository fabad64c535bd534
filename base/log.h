// SPDX-License-Identifier: Apache-2.0
//
// Messages for people: one line each on stderr, with the priority prefix that journald reads
// (sd-daemon(3)) when stderr is the journal, and a plain word when it is not. Any thread may call;
// a line is written by one write(2), so lines do not mix.
#pragma once

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace faultline {

// Values are syslog's, as the prefix wants them.
enum class Severity : std::uint8_t { kError = 3, kWarning = 4, kInfo = 6, kDebug = 7 };

// Messages less severe than `severity` are dropped from now on. Default kInfo.
void SetLogThreshold(Severity severity);

void LogLine(Severity severity, absl::string_view line);

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
