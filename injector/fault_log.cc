// SPDX-License-Identifier: Apache-2.0
#include "injector/fault_log.h"

#include <string>

namespace faultline {

const char* NounOf(const v1::FaultState& state) { return state.hold() ? "hold" : "fault"; }

void LogFault(Event event, const v1::FaultState& state, absl::string_view word) {
  const std::string& group = state.cgroup();
  LogEvent(event,
           {{kFaultIdField, state.spec().id()},
            {kFaultTypeField, state.spec().type()},
            {kCgroupField, group},
            {kReasonField, state.reason()}},
           NounOf(state), " ", state.spec().id(), ": ", state.spec().type(),
           group.empty() ? "" : " on ", group, " ", word, state.reason().empty() ? "" : ", ",
           state.reason());
}

}  // namespace faultline
