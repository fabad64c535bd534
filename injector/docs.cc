// SPDX-License-Identifier: Apache-2.0
#include "injector/docs.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"

namespace faultline {
namespace {

const char* KindName(Parameter::Kind kind) {
  switch (kind) {
    case Parameter::Kind::kPercent:
      return "percent";
    case Parameter::Kind::kDuration:
      return "duration";
    case Parameter::Kind::kBytes:
      return "bytes";
    case Parameter::Kind::kRate:
      return "rate";
    case Parameter::Kind::kNumber:
      return "number";
    case Parameter::Kind::kChoice:
      return "choice";
    case Parameter::Kind::kText:
      return "text";
  }
  return "";
}

// "no or yes" for a choice, "0.05 to 64 CPU" for an amount.
std::string Allowed(const Parameter& parameter) {
  if (parameter.kind == Parameter::Kind::kChoice) {
    return absl::StrReplaceAll(parameter.choices, {{"|", " or "}});
  }
  if (parameter.kind == Parameter::Kind::kText) return "text";
  return absl::StrCat(Amount(parameter, parameter.minimum), " to ",
                      Amount(parameter, parameter.maximum));
}

std::string ParameterTable(absl::Span<const Parameter> parameters) {
  if (parameters.empty()) return "No parameters.\n";
  std::string text = "| parameter | allowed | default | meaning |\n|---|---|---|---|\n";
  for (const Parameter& parameter : parameters) {
    absl::StrAppend(&text, "| `", parameter.name, "` | ", Allowed(parameter), " | ",
                    parameter.default_value == nullptr ? "must be given" : parameter.default_value,
                    " | ", parameter.meaning, " |\n");
  }
  return text;
}

// "by the injector, from 100ms".
std::string ByWhom(const FaultType& type, bool ramp) {
  const Follower follower = FollowerOf(type, ramp);
  const char* by = follower == Follower::kController ? "the injector"
                   : follower == Follower::kHelper   ? "the helper"
                                                     : "the kernel program";
  const absl::Duration least = absl::Nanoseconds(LeastShapeNs(type, ramp));
  return absl::StrCat("by ", by, ", from ", absl::FormatDuration(least));
}

// "" where it is constant only.
std::string Shapes(const FaultType& type) {
  if (type.shapes[0] == '\0') return "";
  if (type.ramp_in_steps) {
    return absl::StrCat(" Shapes: ramp (", ByWhom(type, true), "), pulse (", ByWhom(type, false),
                        ").");
  }
  return absl::StrCat(" Shapes: ", absl::StrReplaceAll(type.shapes, {{"|", ", "}}), " (",
                      ByWhom(type, false), ").");
}

std::string Section(const FaultType& type) {
  std::vector<std::string> symptoms;
  for (const char* symptom : type.symptoms) symptoms.push_back(absl::StrCat("`", symptom, "`"));
  return absl::StrCat(
      "\n## ", type.name, "\n", type.meaning, "\n\n",
      "Target: ", absl::StrReplaceAll(type.targets, {{"|", ", "}}), ".",
      type.peers ? " Takes peer filters." : "", Shapes(type), " Dose: `", type.dose, "` (",
      type.dose_unit, ").",
      type.ledger ? " After a kill of the injector the dose is exact where there is a bpffs." : "",
      symptoms.empty() ? "" : absl::StrCat(" Symptoms: ", absl::StrJoin(symptoms, ", "), "."),
      type.controllers.empty()
          ? ""
          : absl::StrCat(" Controller: ", absl::StrJoin(type.controllers, ", "), "."),
      "\n\n", ParameterTable(type.parameters));
}

}  // namespace

v1::FaultInfo Describe(const FaultType& type) {
  v1::FaultInfo info;
  info.set_type(type.name);
  info.set_meaning(type.meaning);
  for (const Parameter& parameter : type.parameters) {
    v1::ParameterInfo* row = info.add_parameters();
    row->set_name(parameter.name);
    row->set_kind(KindName(parameter.kind));
    row->set_unit(parameter.unit);
    row->set_minimum(parameter.minimum);
    row->set_maximum(parameter.maximum);
    if (parameter.default_value != nullptr) row->set_default_value(parameter.default_value);
    row->set_meaning(parameter.meaning);
    if (parameter.choices != nullptr) {
      row->set_meaning(absl::StrCat(parameter.meaning, " (", Allowed(parameter), ")"));
    }
  }
  for (absl::string_view target : absl::StrSplit(type.targets, '|')) {
    info.add_targets(std::string(target));
  }
  info.set_peers(type.peers);
  for (absl::string_view shape : absl::StrSplit(type.shapes, '|', absl::SkipEmpty())) {
    info.add_shapes(std::string(shape));
  }
  info.set_hold(type.hold);
  info.set_dose(type.dose);
  for (const char* symptom : type.symptoms) info.add_symptoms(symptom);
  return info;
}

std::string FaultsDoc() {
  std::string text = R"(# Faults

Made by `faultline-injector --faults-doc` from injector/faults/table.cc; do not edit.

Every fault also takes a duration (mandatory), a seed, a shape and a start. Sizes: `8M` and `8MiB` are 2^23 bytes,
`8MB` is 8,000,000. Rates are decimal bits a second: `10mbit`. Symptoms are columns of the cgroup table of a dataset.

A constant shape has the full dose from start to end. A ramp goes from none to the full dose, linear over its time,
and stays there; the injector takes it in 20 equal steps, fewer below 2 s. A pulse has the full dose for one time and
none for the other, again and again. Between two pulses everything is as before the fault, and nothing is counted as
its dose, but for what a limit of the group's own does, which cpu.limit and mem.limit cannot tell from theirs. The
dose of a rate (net.rate, io.limit) is the time that a byte takes: half way up a ramp the rate is twice the one asked
for. process.pause and process.kill take no ramp, as a task stands still or does not, and gets a signal or does not;
sham and hold.controllers take no shape, as they have no dose that could change.

A fault begins at once, some time after its command, or at an instant of the wall clock, at most 24 h ahead. The same
instant on several nodes is one start for the fleet, as exact as their clocks agree. The instant is converted once,
when the fault is accepted: a step of the wall clock afterwards does not move it. Until it begins nothing is changed;
it can still be refused, when the host is no longer as it has to be, when the process that names its target has ended,
when it is stopped or the host halted, and when the injector ends.

What the kernel or systemd takes its time for (mem.limit on a group with much cache) is waited for, 5 s at most until
the command is answered; the fault is in force when it is acknowledged, and until then it can be stopped, halted or be
over, and has failed. Nothing else waits meanwhile.

A target named by a process (`pid:`) is the control group of that process with all that is in it, but for
process.kill, which meets the process alone.

A fault ends at its deadline, when it is stopped, or with its target: when the control group is removed, and for those
with a helper (mem.leak, cpu.load) also when the group had processes and only helpers are left. Of a process.kill that
is the effect, and it goes on: the same group or unit, when it is there again, is its target still. A net.delay then
lets go of what it holds back, in order: it is undone up to its delay and jitter, and 20 ms, after its deadline, and
`stop` answers after 5 s at most, though a longer delay goes on. Its pulses need more time than that between them.

If the injector is killed, network faults, process.kill and those with a helper end with it (the helper within
milliseconds, unless it is frozen); cpu.limit, mem.limit, io.limit and process.pause go on, and count, until the
keeper ends them, at once (it stands beside the service while a fault is open), or the next start or `--undo`. Either
way the dose is then read from what outlived the injector; where that is not all of it, the fault's reason says so.

Five edges say when. `commanded`: the injector heard the command, or the instant came; `acked`: the kernel had
confirmed each change, by read-back or by what the fault's own program counted; `undone`: it showed the old state again. Between `first_touch` and `last_touch` the target
really met the fault: a packet that was steered or lost, a signal, a step of a helper (mem.leak: its memory growing;
cpu.load: its time running), a group that stands still, a read for which mem.limit showed pages given back or reads
that waited, and half a second in which io.limit let through at least nine tenths of its rate. Each edge has an
`error_ns`, within which it is known.

The first dose that a fault tells is the one that its row names. Others stand beside it as the kernel counts them,
with their unit: `throttled_periods`, `packets_dropped`, `queued_bytes`, `processes_ended` and the like.

Beside the bounds of its parameters a fault is refused when it lasts less than 100 ms, when another one that is active
or scheduled changes the same thing of this group, of one above it or of one within it, when a limit of the target's
own is as tight or tighter already, and when it would turn a controller on in pulses.

The first touch of cpu.limit is when a throttled run queue of the target first held a task back, the last touch when
one last let go, at the end of a period or by the undo. The first stall follows `acked` when the first quota is used
up. BPF programs on sched_switch and sched_wakeup see both; they are attached as long as such a fault lasts, or a sham
of its mechanism. Where the kernel does not take them, for a target that had a limit before, for a third such fault at
a time, and for what a limit did after its injector was killed, the touches are read from cpu.stat, up to a period and
a read late: then the edge's `error_ns` is not 0, and the plan says so.

A controller that a fault needs has to be on for its target. On cgroup v2 it may be off, and systemd then turns it on
for every unit beside the target, and off again after the fault: `faultline run start --target` has it held on for the
whole run instead. What is held is no fault: it is never labelled, and may last 7 days.

What a host allows, which services, peers and amounts it spares, and when it ends every fault:
[guard-rails.md](guard-rails.md). A fault that came through the collector ends within 15 s of its loss.

Whether a fault was felt is its verdict, which a dataset holds. The columns that are named as symptoms are compared
with quiet time of the same run: at most 5 minutes before the command and after the undo and recovery, without other
faults. A symptom moved if at least half of the fault's windows lie outside median +- 5 MAD of quiet time, and the
fault is `effective` if one did. `no_effect` is an honest answer, and that of every sham. All of it, with its limits:
[dataset.md](dataset.md#verdict).
)";
  for (const FaultType& type : FaultTypes()) text += Section(type);
  return text;
}

}  // namespace faultline
