// SPDX-License-Identifier: Apache-2.0
//
// What an export counts while it writes, for the card and the summary: no number in them is typed
// by a person. A plain value.
#pragma once

#include <array>
#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "collector/dataset/intervals.h"

namespace faultline {

struct TableTally {
  std::string name;
  // Node and name of all that have a row.
  std::set<std::pair<std::string, std::string>> entities;
  std::int64_t rows = 0;
  // Fields that hold a value, label columns not counted.
  std::int64_t samples = 0;
  std::int64_t nulls = 0;
  std::int64_t labelled = 0;
  std::int64_t labelled_target = 0;
  std::array<std::int64_t, kLabelStates> states{};
};

struct Tally {
  std::vector<TableTally> tables;
  // One window of one node.
  std::int64_t windows = 0;
  std::int64_t windows_labelled = 0;
  // Where the node's word on an active fault and the faults' edges differ.
  std::int64_t windows_differing = 0;
  std::array<std::int64_t, kLabelStates> states{};
};

}  // namespace faultline
