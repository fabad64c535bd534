// SPDX-License-Identifier: Apache-2.0
//
// How the log names a fault, the same in every event of its life. Stateless, any thread.
#pragma once

#include "absl/strings/string_view.h"
#include "base/event.h"
#include "faultline/v1/faults.pb.h"

namespace faultline {

// "fault"; "hold" of what is none.
const char* NounOf(const v1::FaultState& state);

// "fault ID: TYPE on CGROUP WORD, REASON"; of a hold, which is no fault, "hold ID: ...".
void LogFault(Event event, const v1::FaultState& state, absl::string_view word);

}  // namespace faultline
