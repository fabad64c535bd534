// SPDX-License-Identifier: Apache-2.0
//
// A process that moves blocks between memory and a file, past the page cache, one after the other
// without a pause, and notes when each began and was done. What it notes is in memory that it
// shares with whoever made this before the fork. Owned by one thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/witness/stalls.h"

namespace faultline::witness {

struct Transfer {
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
};

class Disk {
 public:
  static constexpr std::int64_t kBlock = 64 << 10;

  Disk();
  ~Disk();
  Disk(const Disk&) = delete;
  Disk& operator=(const Disk&) = delete;

  // In the process to watch, with a file of whole blocks: returns only where that fails.
  int Read(const std::string& file) { return Move(file, false); }
  int Write(const std::string& file) { return Move(file, true); }

  // Those that were done after `since_ns`, in their order.
  std::vector<Transfer> Since(std::int64_t since_ns) const;

 private:
  struct Account;
  int Move(const std::string& file, bool write);

  Account* account_ = nullptr;
};

// Blocks per second from the end of the first to the end of the last that took longer than
// `pause_ns`, as who is held back gets several at once after each pause; 0: there are no two.
double BlocksPerSecond(const std::vector<Transfer>& transfers, std::int64_t pause_ns);
// Those that took longer than `ns`.
std::vector<Stall> LongerThan(const std::vector<Transfer>& transfers, std::int64_t ns);

}  // namespace faultline::witness
