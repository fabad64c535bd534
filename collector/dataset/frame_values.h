// SPDX-License-Identifier: Apache-2.0
//
// The values of one table in one frame, as the files show them. Made per frame, borrows everything.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "collector/dataset/layout.h"
#include "faultline/v1/telemetry.pb.h"

namespace faultline {

// Null, a whole number, or a fraction.
struct Value {
  enum class Type : std::uint8_t { kNull, kWhole, kFraction };

  Value() = default;
  static Value Whole(std::int64_t number) { return {Type::kWhole, number, 0}; }
  static Value Fraction(double number) { return {Type::kFraction, 0, number}; }
  bool is_null() const { return type == Type::kNull; }

  Type type = Type::kNull;
  std::int64_t whole = 0;
  double fraction = 0;

 private:
  Value(Type t, std::int64_t w, double f) : type(t), whole(w), fraction(f) {}
};

// NaN for null.
double AsDouble(const Value& value);
// Null is nothing.
void AppendValue(const Value& value, std::string* line);

// The number as it came, scaled to its unit: of a counter the increment over the window.
Value Increment(const v1::ColumnFrame& column, int row, int scale);

class FrameValues {
 public:
  // The frame must have passed CheckBatch.
  FrameValues(const v1::Frame& frame, const v1::TableFrame& table, const TableMap& map,
              const OutputTable& output);

  // Value of output column `column` in row `row` (index of the entity in the frame).
  Value At(int column, int row) const;

 private:
  const v1::TableFrame& table_;
  const TableMap& map_;
  const OutputTable& output_;
  double window_s_;
  // By column of the frame, for histograms: where each row's buckets start.
  std::vector<std::vector<int>> bucket_starts_;
};

}  // namespace faultline
