// SPDX-License-Identifier: Apache-2.0
#include "tests/witness/stolen.h"

#include <unistd.h>

#include <fstream>
#include <string>

#include "tests/witness/now.h"

namespace faultline::witness {

Stolen::Times Stolen::Read() {
  // "cpu user nice system idle iowait irq softirq steal": what comes after it is part of user.
  constexpr int kFields = 8;
  std::ifstream stat("/proc/stat");
  std::string name;
  stat >> name;
  const std::int64_t tick_ns = kSecond / ::sysconf(_SC_CLK_TCK);
  Times times;
  std::int64_t ticks = 0;
  for (int i = 0; i < kFields && stat >> ticks; ++i) {
    times.all_ns += ticks * tick_ns;
    times.stolen_ns = ticks * tick_ns;
  }
  return times;
}

double Stolen::Share() const {
  const Times now = Read();
  const std::int64_t all_ns = now.all_ns - begin_.all_ns;
  if (all_ns <= 0) return 0;
  return static_cast<double>(now.stolen_ns - begin_.stolen_ns) / static_cast<double>(all_ns);
}

}  // namespace faultline::witness
