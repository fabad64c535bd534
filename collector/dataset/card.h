// SPDX-License-Identifier: Apache-2.0
//
// README.md of a dataset: what is in it, counted by the tool, and how to read it. A pure function.
#pragma once

#include <string>
#include <vector>

#include "collector/dataset/layout.h"
#include "collector/dataset/node_data.h"
#include "collector/dataset/tally.h"
#include "collector/store/catalogue.h"

namespace faultline {

std::string Card(const v1::Run& run, bool open, const Layout& layout,
                 const std::vector<NodeData>& nodes, const std::vector<GapRow>& gaps,
                 const Tally& tally);

}  // namespace faultline
