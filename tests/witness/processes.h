// SPDX-License-Identifier: Apache-2.0
//
// When a process ended, by a descriptor of it that the kernel makes readable at its end. Any
// thread.
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace faultline::witness {

class Life {
 public:
  // Of a process that nobody has waited for yet.
  explicit Life(pid_t pid);
  ~Life();
  Life(const Life&) = delete;
  Life& operator=(const Life&) = delete;

  // The end of the process, CLOCK_BOOTTIME ns, seen within microseconds where the calling thread
  // gets a processor; 0: it still lives after `ms`.
  std::int64_t AwaitEndNs(int ms) const;

 private:
  const int fd_;
};

}  // namespace faultline::witness
