// SPDX-License-Identifier: Apache-2.0
#include "collector/dataset/layout.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace faultline {
namespace {

struct PartOf {
  Part part;
  const char* suffix;
};

constexpr PartOf kGaugeParts[] = {{Part::kGauge, ""}};
constexpr PartOf kCounterParts[] = {{Part::kRate, "_per_s"}};
constexpr PartOf kHistogramParts[] = {{Part::kP50, "_p50"},
                                      {Part::kP90, "_p90"},
                                      {Part::kP99, "_p99"},
                                      {Part::kCount, "_count"},
                                      {Part::kSum, "_sum"}};

std::vector<PartOf> PartsOf(v1::Kind kind) {
  if (kind == v1::KIND_COUNTER) return {std::begin(kCounterParts), std::end(kCounterParts)};
  if (kind == v1::KIND_HISTOGRAM) return {std::begin(kHistogramParts), std::end(kHistogramParts)};
  return {std::begin(kGaugeParts), std::end(kGaugeParts)};
}

std::string UnitOf(const v1::Column& metric, Part part) {
  if (part == Part::kRate) return absl::StrCat(metric.unit(), "/s");
  if (part == Part::kCount) return "1";
  return metric.unit();
}

bool IsTaken(const OutputTable& table, const std::string& name) {
  for (const char* fixed : kLabelColumns) {
    if (name == fixed) return true;
  }
  if (name == "timestamp" || name == "node" || name == "entity") return true;
  return std::any_of(table.columns.begin(), table.columns.end(),
                     [&](const OutputColumn& column) { return column.name == name; });
}

// The same metric of another node or another start; its words may differ.
int FindColumn(const OutputTable& table, const v1::Column& metric, Part part) {
  for (std::size_t i = 0; i < table.columns.size(); ++i) {
    const OutputColumn& column = table.columns[i];
    if (column.part == part && column.metric.name() == metric.name() &&
        column.metric.unit() == metric.unit()) {
      return static_cast<int>(i);
    }
  }
  return -1;
}

// A metric that is called like a column of ours, or like another metric with another unit, gets its
// table's name in front as often as it takes.
std::string FreeName(const OutputTable& table, std::string name) {
  while (IsTaken(table, name)) name = absl::StrCat(table.name, "_", name);
  return name;
}

}  // namespace

Layout::Layout(const std::map<std::int64_t, v1::Schema>& schemas) : schemas_(schemas) {
  for (const auto& [row, schema] : schemas_) {
    std::vector<TableMap>& maps = maps_[row];
    for (const v1::TableSchema& table : schema.tables()) maps.push_back(AddTable(table));
  }
  // A table that grew with a later schema: earlier ones lack the new columns.
  for (auto& entry : maps_) {
    for (TableMap& map : entry.second) {
      map.columns.resize(tables_[static_cast<std::size_t>(map.table)].columns.size());
    }
  }
}

TableMap Layout::AddTable(const v1::TableSchema& schema) {
  const auto found = std::find_if(tables_.begin(), tables_.end(), [&](const OutputTable& table) {
    return table.name == schema.name();
  });
  TableMap map;
  map.table = static_cast<int>(found - tables_.begin());
  if (found == tables_.end()) {
    tables_.emplace_back();
    tables_.back().name = schema.name();
  }
  OutputTable& table = tables_[static_cast<std::size_t>(map.table)];
  for (int c = 0; c < schema.columns_size(); ++c) {
    const v1::Column& metric = schema.columns(c);
    for (const PartOf& part : PartsOf(metric.kind())) {
      int index = FindColumn(table, metric, part.part);
      if (index < 0) {
        OutputColumn column;
        column.name = FreeName(table, absl::StrCat(metric.name(), part.suffix));
        column.part = part.part;
        column.unit = UnitOf(metric, part.part);
        column.metric = metric;
        index = static_cast<int>(table.columns.size());
        table.columns.push_back(std::move(column));
      }
      const auto at = static_cast<std::size_t>(index);
      if (map.columns.size() <= at) map.columns.resize(at + 1);
      map.columns[at] = ColumnSource{c, metric.scale()};
    }
  }
  return map;
}

}  // namespace faultline
