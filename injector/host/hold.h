// SPDX-License-Identifier: Apache-2.0
//
// What the injector and its helper faultline-hold share: one page of memory that only the helper
// writes. It is a file's, so that it outlives the helper and the injector: what was held when the
// injector was killed is read from it by the next one.
#pragma once

#include <atomic>
#include <cstdint>

namespace faultline {

struct HoldReport {
  // Touched and held now.
  std::atomic<std::int64_t> held_bytes;
  // CLOCK_BOOTTIME ns after the first and the last step that touched pages; 0 = none.
  std::atomic<std::int64_t> first_touch_ns;
  std::atomic<std::int64_t> last_touch_ns;
  // How long the longest step took: the touches happened within it.
  std::atomic<std::int64_t> step_ns;
  // When the helper saw that its commands had ended, and when it had given all memory back; 0 = not
  // yet, or it was killed.
  std::atomic<std::int64_t> closing_ns;
  std::atomic<std::int64_t> closed_ns;
};
static_assert(std::atomic<std::int64_t>::is_always_lock_free, "shared between processes");

// Descriptors of the helper: its commands (a pipe; one byte is "go", the end of it "end") and the
// report.
constexpr int kHoldCommandFd = 0;
constexpr int kHoldReportFd = 3;

// Name of the program, and the argument before the fault's id by which it is found again.
constexpr const char* kHoldProgram = "faultline-hold";
constexpr const char* kHoldFaultFlag = "--fault";

}  // namespace faultline
