// SPDX-License-Identifier: Apache-2.0
#include "injector/host/value_steps.h"

#include <algorithm>

namespace faultline {

const std::string& ValueAt(const v1::Change& change, double level) {
  if (level <= 0) return change.before();
  if (level >= 1 || change.steps().empty()) return change.after();
  // Step i of n is for the levels from i/n to (i+1)/n.
  const int step = static_cast<int>(level * change.steps_size());
  return change.steps(std::min(step, change.steps_size() - 1));
}

const std::string& FirstValue(const v1::Change& change) {
  return change.steps().empty() ? change.after() : change.steps(0);
}

bool IsOwnValue(const v1::Change& change, absl::string_view value) {
  return value == change.after() ||
         std::any_of(change.steps().begin(), change.steps().end(),
                     [value](const std::string& step) { return value == step; });
}

}  // namespace faultline
