// SPDX-License-Identifier: Apache-2.0
//
// What every fault's edges must be like, whoever reports them.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>

#include "faultline/v1/faults.pb.h"

namespace faultline {

// Commanded, acked, first touch, last touch, undone; those that happened.
inline void ExpectEdgesInOrder(const v1::FaultState& state) {
  const v1::Edges& edges = state.edges();
  std::int64_t last_ns = edges.commanded().boottime_ns();
  for (const v1::Edge* edge :
       {&edges.acked(), &edges.first_touch(), &edges.last_touch(), &edges.undone()}) {
    if (edge->boottime_ns() == 0) continue;
    EXPECT_GE(edge->boottime_ns(), last_ns) << state.ShortDebugString();
    EXPECT_GE(edge->error_ns(), 0);
    last_ns = edge->boottime_ns();
  }
}

}  // namespace faultline
