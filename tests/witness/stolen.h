// SPDX-License-Identifier: Apache-2.0
//
// How much of this machine's processors its hypervisor gave to others: the steal time of
// proc_stat(5), in ticks of 10 ms. While it does, everything here happens later than it should, and
// nobody on the machine can tell when. Owned by one thread.
#pragma once

#include <cstdint>

namespace faultline::witness {

class Stolen {
 public:
  // From here on.
  Stolen() : begin_(Read()) {}

  // Part of the time of all processors that is gone, 0 to 1; 0 where nobody counts it.
  double Share() const;
  // Of them together, ns.
  std::int64_t Ns() const { return Read().stolen_ns - begin_.stolen_ns; }

 private:
  struct Times {
    std::int64_t stolen_ns = 0;
    std::int64_t all_ns = 0;
  };
  static Times Read();

  const Times begin_;
};

}  // namespace faultline::witness
