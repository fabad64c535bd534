// SPDX-License-Identifier: Apache-2.0
//
// From cumulative values to increments, in one place for every counter and histogram. The rules:
//  - an entity's first value is a base, not an increment: null. That holds also for what was
//  created
//    after the agent started, since its counts before the tick that found it are in ~other (BPF) or
//    fall into no window that we know the beginning of (files);
//  - a value that is missing makes this tick and the next one null: an increment over two windows
//  is
//    none over one;
//  - a value below the one before was reset: null, and a new base.
// Owned by the sampler; one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "agent/metrics/encode.h"
#include "agent/metrics/source.h"

namespace faultline {

class Increments {
 public:
  Increments();

  // To be called for each table at each tick, before its columns.
  void BeginTable(Table table, const std::vector<Entity>& entities);

  // Increments of column `metric` of that table over the column given for it the tick before.
  std::vector<std::optional<std::int64_t>> OfCounter(size_t metric,
                                                     std::vector<std::optional<std::int64_t>> now);
  std::vector<std::optional<HistogramIncrement>> OfHistogram(
      size_t metric, std::vector<std::unique_ptr<histogram>> now);

 private:
  // Ids of each table's rows at the tick before.
  std::array<std::vector<std::uint64_t>, kTables> previous_ids_;
  // Of the table begun last: where each row was at the tick before; nullopt: nowhere.
  std::vector<std::optional<size_t>> previous_row_;
  std::vector<Column> previous_;
};

}  // namespace faultline
