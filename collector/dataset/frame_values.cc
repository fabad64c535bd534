// SPDX-License-Identifier: Apache-2.0
#include "collector/dataset/frame_values.h"

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "collector/check.h"
#include "collector/dataset/csv.h"
#include "collector/dataset/percentile.h"

namespace faultline {
namespace {

double ShareOf(Part part) {
  if (part == Part::kP50) return 0.5;
  if (part == Part::kP90) return 0.9;
  return 0.99;
}

Value Scaled(std::int64_t value, int scale) {
  if (scale == 0) return Value::Whole(value);
  return Value::Fraction(static_cast<double>(value) * std::pow(10.0, -scale));
}

}  // namespace

double AsDouble(const Value& value) {
  switch (value.type) {
    case Value::Type::kWhole:
      return static_cast<double>(value.whole);
    case Value::Type::kFraction:
      return value.fraction;
    case Value::Type::kNull:
      break;
  }
  return std::numeric_limits<double>::quiet_NaN();
}

void AppendValue(const Value& value, std::string* line) {
  if (value.type == Value::Type::kWhole) absl::StrAppend(line, value.whole);
  if (value.type == Value::Type::kFraction) AppendDouble(value.fraction, line);
}

Value Increment(const v1::ColumnFrame& column, int row, int scale) {
  if (IsNull(column, row)) return {};
  return Scaled(column.values(row), scale);
}

FrameValues::FrameValues(const v1::Frame& frame, const v1::TableFrame& table, const TableMap& map,
                         const OutputTable& output)
    : table_(table),
      map_(map),
      output_(output),
      window_s_(static_cast<double>(frame.end_boottime_ns() - frame.begin_boottime_ns()) /
                static_cast<double>(kNsPerSecond)) {
  bucket_starts_.resize(static_cast<std::size_t>(table.columns_size()));
  for (int c = 0; c < table.columns_size(); ++c) {
    int start = 0;
    auto& starts = bucket_starts_[static_cast<std::size_t>(c)];
    for (const std::uint32_t pairs : table.columns(c).bucket_counts()) {
      starts.push_back(start);
      start += 2 * static_cast<int>(pairs);
    }
    starts.push_back(start);
  }
}

Value FrameValues::At(int column, int row) const {
  const ColumnSource& place = map_.columns[static_cast<std::size_t>(column)];
  const int source = place.column;
  if (source < 0) return {};
  const v1::ColumnFrame& frame = table_.columns(source);
  if (IsNull(frame, row)) return {};
  const OutputColumn& output = output_.columns[static_cast<std::size_t>(column)];
  switch (output.part) {
    case Part::kGauge:
      return Scaled(frame.values(row), place.scale);
    case Part::kRate:
      return Value::Fraction(AsDouble(Scaled(frame.values(row), place.scale)) / window_s_);
    case Part::kCount:
      return Value::Whole(frame.values(row));
    case Part::kSum:
      return Scaled(frame.sums(row), place.scale);
    default:
      break;
  }
  const auto& starts = bucket_starts_[static_cast<std::size_t>(source)];
  const auto at = static_cast<std::size_t>(row);
  const BucketPairs buckets(frame.buckets().data() + starts[at],
                            static_cast<std::size_t>(starts[at + 1] - starts[at]));
  const auto value = Percentile(buckets, ShareOf(output.part));
  if (!value.has_value()) return {};
  return Scaled(*value, place.scale);
}

}  // namespace faultline
