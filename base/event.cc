// SPDX-License-Identifier: Apache-2.0
#include "base/event.h"

#include <array>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace faultline {
namespace {

constexpr std::array kEventKinds{
    EventKind{Event::kAgentReady, "agent_ready", "3a2b5c979cf340b084c0533f82158442",
              Severity::kInfo, "agent", "FAULTLINE_NODE",
              "Everything that this kernel takes is attached; sampling begins."},
    EventKind{Event::kTicksSkipped, "ticks_skipped", "4dd93efae0274acdbdb8ff6c2bc20045",
              Severity::kWarning, "agent", "FAULTLINE_COUNT",
              "The agent did not get to run in time: that many ticks have no frame."},
    EventKind{Event::kCollectorConnected, "collector_connected", "8fd5d7a801844fe78f196676935df2bd",
              Severity::kInfo, "agent", "FAULTLINE_ADDRESS",
              "The collector answers and takes this node's samples."},
    EventKind{Event::kCollectorLost, "collector_lost", "564f157e00384a07bd5f7a2dde56f850",
              Severity::kWarning, "agent", "FAULTLINE_ADDRESS FAULTLINE_REASON",
              "The stream to the collector broke; samples are kept until it is there again."},
    EventKind{Event::kNodeNotTaken, "node_not_taken", "15664b25b21c4966a7940c6bb356f42b",
              Severity::kWarning, "agent", "FAULTLINE_ADDRESS FAULTLINE_REASON",
              "The collector cannot be reached, or does not take this node; said once per reason."},
    EventKind{Event::kGap, "gap", "4cd0192d77ab4dbf9ad7e87e638ae041", Severity::kWarning, "agent",
              "FAULTLINE_SEQUENCE FAULTLINE_REASON",
              "Samples that were taken will not be stored; the dataset has a gap there. Of a full "
              "buffer only the first batch is told, until the collector takes some again."},
    EventKind{Event::kSamplesLost, "samples_lost", "10c0fdfcf8fb4897af9ac6f65c7b4508",
              Severity::kWarning, "agent", "FAULTLINE_COUNT",
              "The agent ended with that many batches that the collector never had."},
    EventKind{Event::kInjectorLost, "injector_lost", "c2007258fed840209b790a3c91aedeff",
              Severity::kWarning, "agent", "",
              "The node's injector does not answer: labels are unknown until it does."},
    EventKind{Event::kInjectorFound, "injector_found", "7bf80f45d90c4f57bb429720cc5e47a7",
              Severity::kInfo, "agent", "", "The node's injector answers."},
    EventKind{Event::kInjectorAbsent, "injector_absent", "bcb5f693de0054007e0b184286aa170d",
              Severity::kInfo, "agent", "",
              "No injector has run since boot, or it ended with all undone: no fault is in force."},
    EventKind{Event::kInjectorReady, "injector_ready", "9507615b6bc647cfbb9089baad8405f9",
              Severity::kInfo, "injector", "", "The journal is replayed and both sockets listen."},
    EventKind{Event::kJournalReplayed, "journal_replayed", "a846227475ad4421bd9b21df44da838c",
              Severity::kWarning, "injector", "FAULTLINE_COUNT",
              "That many faults of an earlier injector were found in the journal and taken up."},
    EventKind{Event::kFaultStarted, "fault_started", "9371677c13a94bd793472994c69f88ea",
              Severity::kInfo, "injector",
              "FAULTLINE_FAULT_ID FAULTLINE_FAULT_TYPE FAULTLINE_CGROUP",
              "The undo record is on disk; the host is about to be changed."},
    EventKind{Event::kFaultActive, "fault_active", "8d023f749cb94f23bcc78447edc0e131",
              Severity::kInfo, "injector",
              "FAULTLINE_FAULT_ID FAULTLINE_FAULT_TYPE FAULTLINE_CGROUP",
              "The kernel has confirmed the change by read-back."},
    EventKind{Event::kFaultRefused, "fault_refused", "b56db5595fb64e71a84c34aa94b3d601",
              Severity::kWarning, "injector",
              "FAULTLINE_FAULT_ID FAULTLINE_FAULT_TYPE FAULTLINE_REASON",
              "A fault was asked for and not begun; nothing was changed."},
    EventKind{Event::kFaultUndone, "fault_undone", "4c5d44d0ef1e4c709f1dc55bf7caac65",
              Severity::kInfo, "injector",
              "FAULTLINE_FAULT_ID FAULTLINE_FAULT_TYPE FAULTLINE_REASON",
              "The kernel shows the state of before again."},
    EventKind{Event::kFaultFailed, "fault_failed", "d38733ca792b4a50a3bbbbd2ff227281",
              Severity::kWarning, "injector",
              "FAULTLINE_FAULT_ID FAULTLINE_FAULT_TYPE FAULTLINE_REASON",
              "A fault could not be brought into force; what was changed is undone."},
    EventKind{Event::kFaultInterfered, "fault_interfered", "ebf40359303b4e25b1d60230187d4fd9",
              Severity::kWarning, "injector",
              "FAULTLINE_FAULT_ID FAULTLINE_FAULT_TYPE FAULTLINE_REASON",
              "Somebody else changed what the fault held, or its target is gone; it is over."},
    EventKind{Event::kHoldActive, "hold_active", "6a8c626a851d4f1a81ecbfcf3fa278e4",
              Severity::kInfo, "injector",
              "FAULTLINE_FAULT_ID FAULTLINE_FAULT_TYPE FAULTLINE_CGROUP",
              "What a run needs is in place, no fault: the kernel has confirmed it by read-back."},
    EventKind{Event::kHoldEnded, "hold_ended", "6e3af47257464b5083495ec114658435", Severity::kInfo,
              "injector",
              "FAULTLINE_FAULT_ID FAULTLINE_FAULT_TYPE FAULTLINE_CGROUP FAULTLINE_REASON",
              "What was held for a run is let go; the kernel shows the state of before again."},
    EventKind{
        Event::kUndoDelayed, "undo_delayed", "6ff146c24abb469b8ba0267f62f11e39", Severity::kError,
        "injector", "FAULTLINE_FAULT_ID FAULTLINE_FAULT_TYPE FAULTLINE_REASON",
        "The state of before is not back yet; it is tried again, and this says what is left."},
    EventKind{Event::kInjectorEnded, "injector_ended", "f84c83e21d5d4731f328f2b3c66ffeb6",
              Severity::kError, "injector", "FAULTLINE_PID",
              "The injector let a deadline or the end of its lease pass and was ended by its "
              "keeper, which "
              "undoes now."},
    EventKind{Event::kHalted, "halted", "4cda7ea0b3b145e3abe93b655fd8087b", Severity::kWarning,
              "injector", "FAULTLINE_REASON FAULTLINE_COUNT",
              "Every fault is ended, that many, and new ones are refused."},
    EventKind{Event::kReleased, "released", "6c9355015b584f3ca0104d7699b4b4df", Severity::kWarning,
              "injector", "", "Root has lifted the halt."},
    EventKind{Event::kStopCondition, "stop_condition", "b09ce5bed34d46b98d1bb2269acaeb32",
              Severity::kWarning, "injector", "FAULTLINE_REASON FAULTLINE_COUNT",
              "This host's owner wants no faults while it is so: that many were ended, and none "
              "begins until it is over."},
    EventKind{Event::kLeaseLost, "lease_lost", "91b96398ef2c4e45b5ddc097ddef95bb",
              Severity::kWarning, "injector", "FAULTLINE_COUNT",
              "The collector was not heard of for too long: the faults that came through it, that "
              "many, were ended."},
    EventKind{Event::kCollectorReady, "collector_ready", "5f86e8e843334ca9af0ef9f26282b64b",
              Severity::kInfo, "collector", "FAULTLINE_ADDRESS",
              "The store is open and the address taken."},
    EventKind{Event::kNodeConnected, "node_connected", "39d4edaab3e141578575f0f9d6fd0665",
              Severity::kInfo, "collector", "FAULTLINE_NODE", "A node delivers its samples."},
    EventKind{Event::kNodeDisconnected, "node_disconnected", "cfd7a65892cd4c928554490ecb51946b",
              Severity::kInfo, "collector", "FAULTLINE_NODE", "The stream from a node has ended."},
    EventKind{Event::kNodeRefused, "node_refused", "d33081e6f4934cf8b3b794ebbef23cd2",
              Severity::kWarning, "collector", "FAULTLINE_NODE FAULTLINE_REASON",
              "A node's stream was ended for what it sent."},
    EventKind{Event::kBatchRejected, "batch_rejected", "5c4f27b9abd64972b5f4b1c8f08b9048",
              Severity::kWarning, "collector", "FAULTLINE_NODE FAULTLINE_SEQUENCE FAULTLINE_REASON",
              "A batch cannot be stored; its place becomes a gap."},
    EventKind{Event::kSequenceHole, "sequence_hole", "286ab6ccc72e4e4fbfa9399f0939e006",
              Severity::kError, "collector", "FAULTLINE_NODE FAULTLINE_SEQUENCE",
              "Samples are missing that no gap names: a fault of Faultline's."},
    EventKind{Event::kStoreFailed, "store_failed", "5ddc26c254bd4af08e4b3f15d66245c7",
              Severity::kError, "collector", "FAULTLINE_REASON",
              "Nothing could be stored; nodes keep what they have and send it again."},
    EventKind{
        Event::kCallDenied, "call_denied", "842382e2340c051f2908c3fa97ad3ebd", Severity::kWarning,
        "collector",
        "FAULTLINE_METHOD FAULTLINE_ROLE FAULTLINE_PEER FAULTLINE_REASON FAULTLINE_COUNT",
        "A call over TLS was refused: its certificate is of nobody, or of somebody who may not "
        "make it. At most 10 in a minute are told; the count is of those before it that were "
        "not."},
    EventKind{
        Event::kCommandTaken, "command_taken", "489348bcd6fd6a66009decf0abc31b3e", Severity::kInfo,
        "collector", "FAULTLINE_METHOD FAULTLINE_ROLE FAULTLINE_PEER",
        "A call over TLS that changes something was let through: of a fault, a run or a halt. "
        "What became of it the injector tells."},
    EventKind{
        Event::kCertificateTime, "certificate_time", "1f4611a84f0240a788d9f7e2aec8e63b",
        Severity::kWarning, "agent, collector", "FAULTLINE_REASON",
        "The program's own certificate is expired, not yet valid, not readable any more, or ends "
        "within 14 days; looked at every hour, said once per state."},
    EventKind{Event::kCannotStart, "cannot_start", "d475f16b13be4be8989adc84431e6da7",
              Severity::kError, "agent, injector, collector", "FAULTLINE_REASON",
              "The program ended before it was ready: for a wrong option or configuration file, "
              "certificates that lack, an address that is taken, or another reason that it gives."},
    EventKind{Event::kStopping, "stopping", "56f8f53e24bb4278a92b8d70aeaa05d1", Severity::kInfo,
              "agent, injector, collector", "", "The program was asked to end."},
};

constexpr bool InOrder() {
  for (size_t i = 0; i < kEventKinds.size(); ++i) {
    if (static_cast<size_t>(kEventKinds[i].event) != i) return false;
  }
  return static_cast<size_t>(Event::kStopping) + 1 == kEventKinds.size();
}
static_assert(InOrder());

absl::string_view PriorityWord(Severity severity) {
  switch (severity) {
    case Severity::kError:
      return "3 (err)";
    case Severity::kWarning:
      return "4 (warning)";
    case Severity::kInfo:
      return "6 (info)";
    case Severity::kDebug:
      return "7 (debug)";
  }
  return "";
}

std::string FieldWords(const EventKind& kind) {
  std::vector<std::string> quoted;
  for (absl::string_view field : absl::StrSplit(kind.fields, ' ', absl::SkipEmpty())) {
    quoted.push_back(absl::StrCat("`", field, "`"));
  }
  return absl::StrJoin(quoted, ", ");
}

}  // namespace

void LogEventLine(Event event, absl::Span<const LogField> fields, absl::string_view line) {
  const EventKind& kind = KindOf(event);
  std::vector<LogField> all{{"MESSAGE_ID", kind.id}, {"FAULTLINE_EVENT", kind.name}};
  for (const LogField& field : fields) {
    // What is not known is left out.
    if (!field.value.empty()) all.push_back(field);
  }
  LogEntry(kind.severity, line, all);
}

absl::Span<const EventKind> EventKinds() { return kEventKinds; }

const EventKind& KindOf(Event event) { return kEventKinds[static_cast<size_t>(event)]; }

std::string EventsMarkdown() {
  std::string text =
      "# Events\n\n"
      "Generated from `base/event.cc` by `faultline events-doc`; do not edit.\n\n"
      "Under systemd the programs write to the journal by its native protocol, so what they say "
      "can be found\nand counted without reading sentences: `journalctl -t faultline-injector "
      "FAULTLINE_EVENT=fault_active -o json`.\nEvery event has `MESSAGE_ID` and `FAULTLINE_EVENT`, "
      "which never change, `PRIORITY`, `MESSAGE` (for people; it\nmay change) and "
      "`SYSLOG_IDENTIFIER`. Lines that are no event have the last three. Anywhere else\nthe same "
      "sentences go to stderr.\n\n"
      "| `FAULTLINE_EVENT` | `MESSAGE_ID` | `PRIORITY` | who | further fields | meaning |\n"
      "|---|---|---|---|---|---|\n";
  for (const EventKind& kind : kEventKinds) {
    absl::StrAppend(&text, "| `", kind.name, "` | `", kind.id, "` | ", PriorityWord(kind.severity),
                    " | ", kind.program, " | ", FieldWords(kind), " | ", kind.meaning, " |\n");
  }
  return text;
}

}  // namespace faultline
