// SPDX-License-Identifier: Apache-2.0
//
// What the injector and its helper programs share: how one is started and told to begin and to end,
// and one page of memory that only the helper writes. The page is a file's, so that it outlives the
// helper and the injector: what was done when the injector was killed is read from it by the next
// one.
#pragma once

#include <atomic>
#include <cstdint>

namespace faultline {

struct HoldReport {
  // Touched and held now, of faultline-hold.
  std::atomic<std::int64_t> held_bytes;
  // CPU time that the helper used since its go, and what its group used in the last window, in
  // 1/1000 CPU; of faultline-load.
  std::atomic<std::int64_t> burnt_ns;
  std::atomic<std::int64_t> group_mcpus;
  // CLOCK_BOOTTIME ns after the first and the last step that touched pages or burnt CPU time; 0 =
  // none.
  std::atomic<std::int64_t> first_touch_ns;
  std::atomic<std::int64_t> last_touch_ns;
  // How long the longest step took: the touches happened within it.
  std::atomic<std::int64_t> step_ns;
  // When the helper saw that its commands had ended, and when it had given everything back; 0 = not
  // yet, or it was killed.
  std::atomic<std::int64_t> closing_ns;
  std::atomic<std::int64_t> closed_ns;
};
static_assert(std::atomic<std::int64_t>::is_always_lock_free, "shared between processes");

// Descriptors of a helper: its commands (a pipe; one byte is "go", the end of it "end"), the
// report, and the file that it may read, if any.
constexpr int kHoldCommandFd = 0;
constexpr int kHoldReportFd = 3;
constexpr int kHoldFeedFd = 4;

// Names of the programs, and the argument before the fault's id by which one is found again.
constexpr const char* kHoldProgram = "faultline-hold";
constexpr const char* kLoadProgram = "faultline-load";
constexpr const char* kHelperPrograms[] = {kHoldProgram, kLoadProgram};
constexpr const char* kHoldFaultFlag = "--fault";

}  // namespace faultline
