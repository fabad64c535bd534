// SPDX-License-Identifier: Apache-2.0
//
// How measured values are spread. Plain data and pure functions.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace faultline {

struct Spread {
  double min = 0;
  double p50 = 0;
  double p90 = 0;
  double p99 = 0;
  double max = 0;
  std::size_t n = 0;
};

// All 0 of no value.
Spread SpreadOf(const std::vector<double>& values);
// Of their sizes, whatever their signs.
Spread SpreadOfSizes(std::vector<double> values);

// "min -0.1, p50 0.2, p90 0.3, p99 0.4, max 0.4 ms (20)".
std::string ToString(const Spread& spread, const char* unit);

}  // namespace faultline
