// SPDX-License-Identifier: Apache-2.0
//
// A number as the kernel counts it, in a file that nobody but the kernel writes, read all the time
// by a thread of its own; and what such readings say. Owned by one thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <thread>
#include <vector>

namespace faultline::witness {

// The first number of `file`; -1: it has none, or cannot be read.
std::int64_t NumberIn(const std::string& file);

// A value that differs from the one before.
struct Reading {
  // Before the read that saw it first.
  std::int64_t seen_ns = 0;
  std::int64_t value = 0;
};

// When a value grew beyond what it was at first, when it last grew, and when it was back; 0: never.
struct Growth {
  std::int64_t begin_ns = 0;
  std::int64_t last_ns = 0;
  std::int64_t end_ns = 0;
  // At most, above the first value.
  std::int64_t most = 0;
};

// `blur`: what it grows and shrinks by without a reason of ours.
Growth GrowthOf(const std::vector<Reading>& readings, std::int64_t blur);

// What the value was at most for `share` of the time from the first to the last reading, from 0 to
// 1; 0: there was no time.
std::int64_t MostFor(const std::vector<Reading>& readings, double share);

// From the first to the last moment at which a count of CPU time, ns, grew as it does when somebody
// burns, without a pause; all 0: it never did.
struct Burst {
  std::int64_t begin_ns = 0;
  std::int64_t last_ns = 0;
};

// `sure_ns`: so much on end is no chance; a process that starts or ends uses less.
Burst BurstOf(const std::vector<Reading>& readings, std::int64_t sure_ns);

class Reader {
 public:
  // Begins to read the first number of `file`, `scale` times which is the value.
  explicit Reader(const std::string& file, std::int64_t scale = 1);
  ~Reader();
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;

  // Stops reading; all that was seen. Empty: the file cannot be read.
  std::vector<Reading> Finish();

 private:
  void ReadAll();

  const int fd_;
  const std::int64_t scale_;
  std::vector<Reading> readings_;
  std::atomic<bool> stop_ = false;
  std::jthread thread_;
};

}  // namespace faultline::witness
