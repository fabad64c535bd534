// SPDX-License-Identifier: Apache-2.0
//
// The file that is there while a fault is open, a killed injector's too: made before the first
// change, gone after the last undo, in memory as all of the run folder, so that a reboot, which
// ends every fault, ends it too. The injector makes it, the keeper lives by it, and the agent takes
// its absence as the word that no fault is in force.
#pragma once

#include <string>

namespace faultline {

inline std::string OpenMark(const std::string& run_dir) { return run_dir + "/open"; }

}  // namespace faultline
