// SPDX-License-Identifier: Apache-2.0
#include "tests/trials/spread.h"

#include <cmath>

#include "absl/strings/str_format.h"
#include "tests/bench/figure.h"

namespace faultline {

Spread SpreadOf(const std::vector<double>& values) {
  return {Quantile(values, 0),    Quantile(values, 0.5), Quantile(values, 0.9),
          Quantile(values, 0.99), Quantile(values, 1),   values.size()};
}

Spread SpreadOfSizes(std::vector<double> values) {
  for (double& value : values) value = std::fabs(value);
  return SpreadOf(values);
}

std::string ToString(const Spread& spread, const char* unit) {
  return absl::StrFormat("min %.3f, p50 %.3f, p90 %.3f, p99 %.3f, max %.3f %s (%d)", spread.min,
                         spread.p50, spread.p90, spread.p99, spread.max, unit, spread.n);
}

}  // namespace faultline
