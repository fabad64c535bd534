// SPDX-License-Identifier: Apache-2.0
//
// Gives each fault of a node its verdict, its movements and the end of its recovery, from the
// samples around it. Memory is bounded by the windows looked at (thinned out evenly where there are
// many) times the columns of the target. One thread.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "collector/dataset/layout.h"
#include "collector/dataset/node_data.h"
#include "collector/store/catalogue.h"

namespace faultline {

// How far around a fault quiet time is looked for.
constexpr std::int64_t kQuietReachNs = 300'000'000'000;

// Fills verdict, moved, note and recovered_ns of every fault of `node`.
absl::Status Judge(Catalogue* catalogue, const Layout& layout, const v1::Run& run, NodeData* node);

}  // namespace faultline
