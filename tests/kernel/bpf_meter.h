// SPDX-License-Identifier: Apache-2.0
//
// The agent's BPF source on its own, as the kernel tests use it: every metric that has a BPF field,
// the host's real control groups, CPUs and disks. Read() takes a reading, Count() and Observed()
// say what came between the last two. One thread.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "agent/metrics/bpf_source.h"
#include "agent/metrics/cgroups.h"
#include "agent/metrics/metric.h"
#include "base/cgroup_tree.h"

// Skips the test, saying why, if this kernel cannot have `column`; fails if it is refused.
#define NEED_METRIC(meter, column)                                 \
  do {                                                             \
    const absl::Status verdict_ = (meter).Verdict(column);         \
    if (absl::IsUnimplemented(verdict_)) GTEST_SKIP() << verdict_; \
    ASSERT_TRUE(verdict_.ok()) << (column) << ": " << verdict_;    \
  } while (false)

namespace faultline {

class BpfMeter {
 public:
  // `only`: BPF object to load, "" = all.
  static absl::StatusOr<std::unique_ptr<BpfMeter>> Create(const std::string& only = "") {
    absl::StatusOr<CgroupTree> tree = CgroupTree::Read();
    if (!tree.ok()) return tree.status();
    auto meter = std::unique_ptr<BpfMeter>(new BpfMeter());
    absl::StatusOr<std::unique_ptr<CgroupIndex>> index =
        CgroupIndex::Create(*std::move(tree), 64, &meter->next_id_);
    if (!index.ok()) return index.status();
    meter->index_ = *std::move(index);
    meter->ListEntities();
    meter->Start(only);
    return meter;
  }

  // Takes a reading of everything.
  void Read() {
    index_->Refresh();
    entities_[static_cast<size_t>(Table::kCgroup)] = index_->entities();
    before_ = std::move(now_);
    now_.clear();
    std::vector<Column> columns(Metrics().size());
    for (size_t i = 0; i < columns.size(); ++i) {
      const size_t size = entities_[static_cast<size_t>(Metrics()[i].table)].size();
      columns[i].values.resize(size);
      columns[i].histograms.resize(size);
    }
    source_->Read(entities_, &columns);
    for (size_t i = 0; i < columns.size(); ++i) Keep(Metrics()[i], std::move(columns[i]));
  }

  // Increment of a counter between the last two readings; null if either had none.
  std::optional<std::int64_t> Count(const std::string& column, const std::string& entity) const {
    const auto before = before_.find({column, entity});
    const auto now = now_.find({column, entity});
    if (before == before_.end() || now == now_.end()) return std::nullopt;
    return now->second.value - before->second.value;
  }

  // Increment of a histogram between the last two readings; null if either had none.
  std::optional<histogram> Observed(const std::string& column, const std::string& entity) const {
    const auto before = before_.find({column, entity});
    const auto now = now_.find({column, entity});
    if (before == before_.end() || now == now_.end()) return std::nullopt;
    histogram result = now->second.counts;
    result.sum -= before->second.counts.sum;
    result.count -= before->second.counts.count;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; ++i) {
      result.buckets[i] -= before->second.counts.buckets[i];
    }
    return result;
  }

  // Why a metric is not read; OK if it is.
  absl::Status Verdict(const std::string& column) const {
    const auto found = failures_.find(column);
    return found == failures_.end() ? absl::OkStatus() : found->second;
  }

  const Entities& entities() const { return entities_; }
  Source* source() { return source_.get(); }
  CgroupIndex* index() { return index_.get(); }

 private:
  struct Value {
    std::int64_t value = 0;
    histogram counts{};
  };
  using Values = std::map<std::pair<std::string, std::string>, Value>;

  BpfMeter() = default;

  void Keep(const Metric& metric, Column column) {
    const std::vector<Entity>& rows = entities_[static_cast<size_t>(metric.table)];
    for (size_t row = 0; row < rows.size(); ++row) {
      Value value;
      if (metric.kind == Kind::kHistogram) {
        if (column.histograms[row] == nullptr) continue;
        value.counts = *column.histograms[row];
      } else {
        if (!column.values[row].has_value()) continue;
        value.value = *column.values[row];
      }
      now_[{metric.column, rows[row].name}] = value;
    }
  }

  void ListEntities() {
    entities_[static_cast<size_t>(Table::kCgroup)] = index_->entities();
    for (int cpu = 0; cpu < sysconf(_SC_NPROCESSORS_CONF); ++cpu) {
      entities_[static_cast<size_t>(Table::kCpu)].push_back(
          {next_id_++, absl::StrCat(cpu), cpu, 0, "", ""});
    }
    int slot = 1;
    for (const auto& entry : std::filesystem::directory_iterator("/sys/block")) {
      std::ifstream in(entry.path() / "dev");
      std::uint32_t major = 0;
      std::uint32_t minor = 0;
      char colon = 0;
      if (!(in >> major >> colon >> minor)) continue;
      entities_[static_cast<size_t>(Table::kDisk)].push_back(
          {next_id_++, entry.path().filename(), slot++, major << 20 | minor, "", ""});
    }
  }

  void Start(const std::string& only) {
    source_ = MakeBpfSource(*index_, entities_);
    for (size_t i = 0; i < Metrics().size(); ++i) {
      const Metric& metric = Metrics()[i];
      for (const Field& field : metric.fields) {
        const auto* bpf = std::get_if<BpfField>(&field);
        if (bpf == nullptr && !std::holds_alternative<BpfCostField>(field)) continue;
        if (bpf != nullptr && !only.empty() && only != bpf->object) continue;
        absl::Status status = source_->Add(i, field);
        if (!status.ok()) failures_[metric.column] = status;
      }
    }
    for (const auto& [index, status] : source_->Start()) {
      failures_[Metrics()[index].column] = status;
    }
    for (const std::string& name : source_->EntityNames(Table::kBpf)) {
      entities_[static_cast<size_t>(Table::kBpf)].push_back({next_id_++, name, -1, 0, "", ""});
    }
  }

  std::uint64_t next_id_ = 1;
  std::unique_ptr<CgroupIndex> index_;
  Entities entities_;
  std::unique_ptr<Source> source_;
  std::map<std::string, absl::Status> failures_;
  Values before_;
  Values now_;
};

}  // namespace faultline
