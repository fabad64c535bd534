// SPDX-License-Identifier: Apache-2.0
//
// The kinds of event that the programs log, each a row with an id that never changes: what
// `journalctl MESSAGE_ID=...` finds and an alert may rest on, while the words of a line are for
// people and may change. docs/events.md is generated from the rows. Constant data, any thread.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>

#include "absl/types/span.h"
#include "base/log.h"

namespace faultline {

enum class Event : std::uint8_t {
  kAgentReady,
  kTicksSkipped,
  kCollectorConnected,
  kCollectorLost,
  kNodeNotTaken,
  kGap,
  kSamplesLost,
  kInjectorLost,
  kInjectorFound,
  kInjectorAbsent,
  kInjectorReady,
  kJournalReplayed,
  kFaultStarted,
  kFaultActive,
  kFaultRefused,
  kFaultUndone,
  kFaultFailed,
  kFaultInterfered,
  kHoldActive,
  kHoldEnded,
  kUndoDelayed,
  kInjectorEnded,
  kHalted,
  kReleased,
  kStopCondition,
  kLeaseLost,
  kCollectorReady,
  kNodeConnected,
  kNodeDisconnected,
  kNodeRefused,
  kBatchRejected,
  kSequenceHole,
  kStoreFailed,
  kCallDenied,
  kCommandTaken,
  kCertificateTime,
  kCannotStart,
  kStopping,
};

struct EventKind {
  Event event;
  // FAULTLINE_EVENT: "fault_active".
  const char* name;
  // MESSAGE_ID: 128 random bits in hexadecimal.
  const char* id;
  // PRIORITY.
  Severity severity;
  // Who logs it: "agent".
  const char* program;
  // Its fields beside those that every event has, separated by blanks; empty: none.
  const char* fields;
  // One sentence.
  const char* meaning;
};

// The fields that rows name.
inline constexpr char kFaultIdField[] = "FAULTLINE_FAULT_ID";
inline constexpr char kFaultTypeField[] = "FAULTLINE_FAULT_TYPE";
inline constexpr char kCgroupField[] = "FAULTLINE_CGROUP";
inline constexpr char kReasonField[] = "FAULTLINE_REASON";
inline constexpr char kNodeField[] = "FAULTLINE_NODE";
inline constexpr char kAddressField[] = "FAULTLINE_ADDRESS";
inline constexpr char kSequenceField[] = "FAULTLINE_SEQUENCE";
inline constexpr char kCountField[] = "FAULTLINE_COUNT";
inline constexpr char kPidField[] = "FAULTLINE_PID";
// Of a call over TLS: what was called, and whose certificate the caller has.
inline constexpr char kMethodField[] = "FAULTLINE_METHOD";
inline constexpr char kRoleField[] = "FAULTLINE_ROLE";
inline constexpr char kPeerField[] = "FAULTLINE_PEER";

// Logs a line as an event of `event`, with the severity of its row. Fields beyond those of the row
// are a mistake.
void LogEventLine(Event event, absl::Span<const LogField> fields, absl::string_view line);

template <typename... Args>
void LogEvent(Event event, std::initializer_list<LogField> fields, const Args&... args) {
  LogEventLine(event, fields, absl::StrCat(args...));
}

// Every kind, in the order of Event.
absl::Span<const EventKind> EventKinds();
const EventKind& KindOf(Event event);

// The text of docs/events.md.
std::string EventsMarkdown();

}  // namespace faultline
