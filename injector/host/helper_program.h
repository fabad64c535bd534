// SPDX-License-Identifier: Apache-2.0
//
// What the helper programs have in common: their arguments, their commands, their report and what
// they are to the machine (hold.h). No library and no allocation: a helper must cost its group what
// was asked for and nothing else. WaitForCommand and WaitUntil from one thread.
#pragma once

#include <cstdint>

#include "injector/host/hold.h"

namespace faultline {

// CLOCK_BOOTTIME ns.
std::int64_t HelperNow();

// Sets `go` when that came. False when the pipe has ended. A negative timeout waits for ever.
bool WaitForCommand(std::int64_t timeout_ns, bool* go);
// False when the pipe has ended before `until_ns`.
bool WaitUntil(std::int64_t until_ns);
// False when the pipe has ended before the go.
bool WaitForGo();

// The number after argument `name`; -1: there is none.
std::int64_t Argument(int argc, char** argv, const char* name);

// Null: there is none.
HoldReport* MapReport();

// Whoever has to die for want of memory, it is this process; and it has the priority of any other,
// not the injector's.
void BecomeHelper();

}  // namespace faultline
