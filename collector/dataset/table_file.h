// SPDX-License-Identifier: Apache-2.0
//
// Writes data/<table>.csv: one row per node, window and entity, nodes by name, windows as they came
// in time, entities in the order of the frame. Reads the samples once per table and holds one batch
// at a time. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "collector/dataset/file_sink.h"
#include "collector/dataset/layout.h"
#include "collector/dataset/node_data.h"
#include "collector/dataset/tally.h"
#include "collector/store/catalogue.h"

namespace faultline {

class TableFile {
 public:
  TableFile(const Layout& layout, int table, const v1::Run& run)
      : layout_(layout), table_(table), run_(run) {
    tally_.name = output().name;
  }

  // `on_batch` is called after each batch, for progress.
  absl::Status Write(Catalogue* catalogue, const std::vector<NodeData>& nodes,
                     const std::function<void()>& on_batch, FileSink* sink);

  const TableTally& tally() const { return tally_; }

 private:
  const OutputTable& output() const { return layout_.tables()[static_cast<std::size_t>(table_)]; }
  absl::Status WriteNode(Catalogue* catalogue, const NodeData& node,
                         const std::function<void()>& on_batch, FileSink* sink);

  const Layout& layout_;
  const int table_;
  const v1::Run& run_;
  TableTally tally_;
};

// Counts the windows of the run by their labels, once for all tables.
absl::Status CountWindows(Catalogue* catalogue, const std::vector<NodeData>& nodes,
                          const v1::Run& run, Tally* tally);

}  // namespace faultline
