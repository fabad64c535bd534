// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics/increments.h"

#include <cstring>
#include <utility>

namespace faultline {
namespace {

// nullopt: `now` is below `before`, so somebody reset the counter.
std::optional<std::int64_t> Difference(std::uint64_t before, std::uint64_t now) {
  const auto difference = static_cast<std::int64_t>(now - before);
  if (difference < 0) return std::nullopt;
  return difference;
}

// The kernel writes count, sum and buckets one after the other, so a tick may see some of an event;
// the count is taken from the buckets, which makes each increment consistent in itself.
std::optional<HistogramIncrement> Difference(const histogram& before, const histogram& now) {
  HistogramIncrement increment;
  // Most groups are idle in most windows, and this is much quicker than 252 comparisons.
  if (std::memcmp(&before, &now, sizeof(now)) == 0) return increment;
  const std::optional<std::int64_t> sum = Difference(before.sum, now.sum);
  if (!sum.has_value()) return std::nullopt;
  increment.sum = *sum;
  for (std::uint32_t bucket = 0; bucket < HISTOGRAM_BUCKETS; ++bucket) {
    if (now.buckets[bucket] == before.buckets[bucket]) continue;
    const std::optional<std::int64_t> count =
        Difference(before.buckets[bucket], now.buckets[bucket]);
    if (!count.has_value()) return std::nullopt;
    increment.count += *count;
    increment.buckets.emplace_back(bucket, static_cast<std::uint64_t>(*count));
  }
  return increment;
}

}  // namespace

Increments::Increments() : previous_(Metrics().size()) {}

void Increments::BeginTable(Table table, const std::vector<Entity>& entities) {
  std::vector<std::uint64_t>& ids = previous_ids_[static_cast<size_t>(table)];
  absl::flat_hash_map<std::uint64_t, size_t> rows;
  for (size_t row = 0; row < ids.size(); ++row) rows[ids[row]] = row;
  ids.clear();
  previous_row_.clear();
  for (const Entity& entity : entities) {
    const auto row = rows.find(entity.id);
    previous_row_.push_back(row == rows.end() ? std::nullopt : std::optional(row->second));
    ids.push_back(entity.id);
  }
}

std::vector<std::optional<std::int64_t>> Increments::OfCounter(
    size_t metric, std::vector<std::optional<std::int64_t>> now) {
  std::vector<std::optional<std::int64_t>>& before = previous_[metric].values;
  std::vector<std::optional<std::int64_t>> result(now.size());
  for (size_t row = 0; row < now.size(); ++row) {
    const std::optional<size_t> old = previous_row_[row];
    if (!old.has_value() || *old >= before.size()) continue;
    if (!now[row].has_value() || !before[*old].has_value()) continue;
    result[row] = Difference(static_cast<std::uint64_t>(*before[*old]),
                             static_cast<std::uint64_t>(*now[row]));
  }
  before = std::move(now);
  return result;
}

std::vector<std::optional<HistogramIncrement>> Increments::OfHistogram(
    size_t metric, std::vector<std::unique_ptr<histogram>> now) {
  std::vector<std::unique_ptr<histogram>>& before = previous_[metric].histograms;
  std::vector<std::optional<HistogramIncrement>> result(now.size());
  for (size_t row = 0; row < now.size(); ++row) {
    const std::optional<size_t> old = previous_row_[row];
    if (!old.has_value() || *old >= before.size()) continue;
    if (now[row] == nullptr || before[*old] == nullptr) continue;
    result[row] = Difference(*before[*old], *now[row]);
  }
  before = std::move(now);
  return result;
}

}  // namespace faultline
