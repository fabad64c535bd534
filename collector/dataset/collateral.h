// SPDX-License-Identifier: Apache-2.0
//
// Did something else move because of the fault? Of some hundred symptoms of other control groups
// one moves at any time on a busy host, so a movement counts only if quiet time, cut into stretches
// as long as the fault, shows nothing like it. docs/dataset.md has the definition and how often it
// is wrong. Pure functions, any thread.
#pragma once

#include <optional>

#include "collector/dataset/verdict.h"
#include "faultline/v1/datasets.pb.h"

namespace faultline {

// Fewer stretches of quiet time than this prove nothing.
constexpr int kMinTrials = 4;
// More are not looked at.
constexpr int kMaxTrials = 32;

struct Collateral {
  // The movement that quiet time does not explain, the furthest; unset: there is none.
  std::optional<v1::Movement> moved;
  // The furthest of a group that has too little quiet time to tell whether it moves by itself.
  std::optional<v1::Movement> suspect;
};

// `others`: the symptoms of every other control group, in the windows around the fault.
Collateral FindCollateral(const Observation& others);

}  // namespace faultline
