// SPDX-License-Identifier: Apache-2.0
//
// A signal to one process, or to all in a control group and below it, each held by a descriptor and
// looked at again before it is sent: never to another process that has its number by now. Helpers
// of other faults, and what must never get one (processes.h), are left out. Nothing can be undone.
// Change: kind "signal", object the group or "process N", before who the process is, after the
// signal. One thread at a time.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "base/clock.h"
#include "injector/host/cgroup.h"
#include "injector/host/helpers.h"
#include "injector/host/lever.h"
#include "injector/host/processes.h"

namespace faultline {

// Instead of a signal: each process is found, opened and looked at, and gets none.
inline constexpr absl::string_view kNoSignal = "NONE";

struct SignalSpec {
  std::string cgroup;
  // That process alone; 0: all of the group.
  pid_t pid = 0;
  // "KILL", "TERM", ..., or kNoSignal.
  std::string signal;
};

// What it needs of the machine.
struct SignalHost {
  Cgroups* cgroups = nullptr;
  Helpers* helpers = nullptr;
  Processes* processes = nullptr;
  Clock* clock = nullptr;
};

// FailedPrecondition: the process must never get one, or the group has more than can be watched.
// NotFound: there is no such process.
LeverOr MakeSignal(const SignalHost& host, const SignalSpec& spec);
// Only tells that nothing is left to undo.
LeverOr RecoverSignal(const v1::Change& change);

}  // namespace faultline
