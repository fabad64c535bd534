// SPDX-License-Identifier: Apache-2.0
//
// The columns of the dataset's tables, made from the schemas of all nodes of the run: what a column
// of a schema becomes in the files, under which name, and where each file's column is found in the
// frames of each schema. Immutable after construction.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "faultline/v1/telemetry.pb.h"

namespace faultline {

// What of a metric a column shows.
enum class Part : std::uint8_t { kGauge, kRate, kP50, kP90, kP99, kCount, kSum };

struct OutputColumn {
  // As the files name it: the metric's column with the part's suffix.
  std::string name;
  Part part = Part::kGauge;
  // Its unit in the files: "By/s" for the rate of "By".
  std::string unit;
  // The metric that it shows; of the first schema that had it.
  v1::Column metric;
};

struct OutputTable {
  std::string name;
  std::vector<OutputColumn> columns;
};

// Where an output column is found in frames of one schema, and their decimal scale.
struct ColumnSource {
  // Index of the schema's column; -1 = this schema has none.
  int column = -1;
  int scale = 0;
};

// The same for a table of a schema.
struct TableMap {
  // Index into Layout::tables().
  int table = 0;
  // By output column.
  std::vector<ColumnSource> columns;
};

// The label columns that end every row of data/, in this order.
constexpr const char* kLabelColumns[] = {
    "fault_active", "label", "label_state", "label_target", "fault_id", "fault_type", "dose"};

class Layout {
 public:
  // `schemas` by their row in the store, in the order in which they were first seen.
  explicit Layout(const std::map<std::int64_t, v1::Schema>& schemas);

  const std::vector<OutputTable>& tables() const { return tables_; }
  // By index of the schema's table.
  const std::vector<TableMap>& Map(std::int64_t schema) const { return maps_.at(schema); }
  const v1::Schema& schema(std::int64_t schema) const { return schemas_.at(schema); }

 private:
  TableMap AddTable(const v1::TableSchema& schema);

  std::vector<OutputTable> tables_;
  std::map<std::int64_t, std::vector<TableMap>> maps_;
  std::map<std::int64_t, v1::Schema> schemas_;
};

}  // namespace faultline
