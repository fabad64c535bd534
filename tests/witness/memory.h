// SPDX-License-Identifier: Apache-2.0
//
// Memory as the processes have it that want it: what one of them holds, and how much of a file is
// in memory that a process wants all of. Owned by one thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "tests/witness/readings.h"

namespace faultline::witness {

// Bytes of the largest private mapping without a file that process `pid` has in memory, by
// /proc/PID/smaps; -1: it cannot be read.
std::int64_t HeldBytes(pid_t pid);

// A process that reads blocks of 64 KiB of a file for ever, in any order, so that what is missing
// is soon met, and notes after each how much of the file is in memory, by mincore(2). What it notes
// is in memory that it shares with whoever made this before the fork.
class Cached {
 public:
  Cached();
  ~Cached();
  Cached(const Cached&) = delete;
  Cached& operator=(const Cached&) = delete;

  // In the process to watch: returns only where the file cannot be read.
  int Read(const std::string& file);

  // Bytes in memory at the last look; -1: none yet.
  std::int64_t bytes() const;
  // How that changed since the last look before `since_ns`, which is the first of them.
  std::vector<Reading> Since(std::int64_t since_ns) const;

 private:
  struct Account;
  void Note(std::int64_t bytes);

  Account* account_ = nullptr;
};

// When less was in memory than at first, and from when on it was more than `limit` again; 0: never.
struct Shortage {
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
};

// `blur`: what may go without a limit.
Shortage ShortageOf(const std::vector<Reading>& readings, std::int64_t limit, std::int64_t blur);

}  // namespace faultline::witness
