// SPDX-License-Identifier: Apache-2.0
//
// The files beside data/: faults.csv, targets.csv, metrics.csv, nodes.csv, entities.csv, gaps.csv
// and events.csv. Each is small enough to be made whole. Pure functions.
#pragma once

#include <string>
#include <vector>

#include "collector/dataset/layout.h"
#include "collector/dataset/node_data.h"
#include "collector/dataset/tally.h"
#include "collector/store/catalogue.h"
#include "faultline/v1/datasets.pb.h"

namespace faultline {

std::string FaultsCsv(const std::vector<NodeData>& nodes);
// What the run is about, and whether the controllers were held on for it.
std::string TargetsCsv(const v1::Run& run);
std::string MetricsCsv(const Layout& layout);
std::string NodesCsv(const std::vector<NodeData>& nodes);
// Those of `entities` that have a row in the tables.
std::string EntitiesCsv(const std::vector<EntityRow>& entities, const Tally& tally);
std::string GapsCsv(const std::vector<GapRow>& gaps);
std::string EventsCsv(const std::vector<EventRow>& events);

}  // namespace faultline
