// SPDX-License-Identifier: Apache-2.0
#include "collector/dataset/export.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "collector/dataset/card.h"
#include "collector/dataset/judge.h"
#include "collector/dataset/layout.h"
#include "collector/dataset/node_data.h"
#include "collector/dataset/side_files.h"
#include "collector/dataset/table_file.h"
#include "collector/dataset/tally.h"

namespace faultline {
namespace {

// Share of the progress that judging the faults gets.
constexpr double kJudgeShare = 0.2;

absl::StatusOr<std::map<std::int64_t, v1::Schema>> LoadSchemas(Catalogue* catalogue,
                                                               const std::vector<NodeData>& nodes) {
  std::map<std::int64_t, v1::Schema> schemas;
  for (const NodeData& node : nodes) {
    const auto rows = catalogue->SchemasUsed(node.range);
    if (!rows.ok()) return rows.status();
    for (const std::int64_t row : *rows) {
      auto schema = catalogue->FindSchema(row);
      if (!schema.ok()) return schema.status();
      schemas.emplace(row, std::move(*schema));
    }
  }
  return schemas;
}

v1::ExportSummary Summarise(const std::vector<NodeData>& nodes, const Tally& tally,
                            std::size_t gaps) {
  v1::ExportSummary summary;
  for (const TableTally& table : tally.tables) {
    summary.set_rows(summary.rows() + table.rows);
    summary.set_samples(summary.samples() + table.samples);
    summary.set_rows_labelled(summary.rows_labelled() + table.labelled);
  }
  summary.set_gaps(static_cast<std::int64_t>(gaps));
  for (const NodeData& node : nodes) {
    for (const FaultInterval& fault : node.faults) {
      v1::FaultSummary* entry = summary.add_faults();
      *entry->mutable_fault() = fault.state;
      entry->mutable_fault()->set_verdict(fault.verdict);
      if (entry->fault().reason().empty()) entry->mutable_fault()->set_reason(fault.note);
      for (const v1::Movement& movement : fault.moved) *entry->add_moved() = movement;
    }
  }
  return summary;
}

// One export on its way.
class RunExport {
 public:
  RunExport(Catalogue* catalogue, v1::Run run, bool open, FileSink* sink)
      : catalogue_(catalogue), run_(std::move(run)), open_(open), sink_(sink) {}

  absl::Status Go() {
    auto status = Load();
    if (status.ok()) status = JudgeAll();
    if (status.ok()) status = WriteTables();
    if (status.ok()) status = WriteSideFiles();
    if (!status.ok()) return status;
    return sink_->Finish(Summarise(nodes_, tally_, gaps_.size()));
  }

 private:
  absl::Status Load() {
    auto nodes = LoadNodes(catalogue_, run_);
    if (!nodes.ok()) return nodes.status();
    nodes_ = std::move(*nodes);
    const auto schemas = LoadSchemas(catalogue_, nodes_);
    if (!schemas.ok()) return schemas.status();
    layout_ = std::make_unique<Layout>(*schemas);
    auto gaps = catalogue_->Gaps(run_.begin_realtime_ns(), run_.end_realtime_ns());
    if (!gaps.ok()) return gaps.status();
    gaps_ = std::move(*gaps);
    return absl::OkStatus();
  }

  absl::Status JudgeAll() {
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      auto status = Judge(catalogue_, *layout_, run_, &nodes_[i]);
      if (!status.ok()) return status;
      sink_->SetProgress(kJudgeShare * static_cast<double>(i + 1) /
                         static_cast<double>(nodes_.size()));
    }
    return CountWindows(catalogue_, nodes_, run_, &tally_);
  }

  absl::Status WriteTables() {
    std::int64_t batches = 0;
    for (const NodeData& node : nodes_) batches += node.batches;
    const auto all = static_cast<double>(batches) * static_cast<double>(layout_->tables().size());
    double done = 0;
    for (std::size_t t = 0; t < layout_->tables().size(); ++t) {
      TableFile file(*layout_, static_cast<int>(t), run_);
      const auto on_batch = [&] {
        ++done;
        sink_->SetProgress(kJudgeShare + (1 - kJudgeShare) * std::min(1.0, done / all));
      };
      auto status = file.Write(catalogue_, nodes_, on_batch, sink_);
      if (!status.ok()) return status;
      tally_.tables.push_back(file.tally());
    }
    return absl::OkStatus();
  }

  absl::Status WriteSideFiles() {
    const auto events = catalogue_->Events(run_.begin_realtime_ns(), run_.end_realtime_ns());
    if (!events.ok()) return events.status();
    const auto entities = catalogue_->Entities(run_.begin_realtime_ns(), run_.end_realtime_ns());
    if (!entities.ok()) return entities.status();
    const std::vector<std::pair<const char*, std::string>> files = {
        {"faults.csv", FaultsCsv(nodes_)},
        {"targets.csv", TargetsCsv(run_)},
        {"metrics.csv", MetricsCsv(*layout_)},
        {"nodes.csv", NodesCsv(nodes_)},
        {"entities.csv", EntitiesCsv(*entities, tally_)},
        {"gaps.csv", GapsCsv(gaps_)},
        {"events.csv", EventsCsv(*events)},
        {"README.md", Card(run_, open_, *layout_, nodes_, gaps_, tally_)},
    };
    for (const auto& [path, content] : files) {
      auto status = sink_->WriteFile(path, content);
      if (!status.ok()) return status;
    }
    // A copy: writing the file adds its own line.
    return sink_->WriteFile("CHECKSUMS", std::string(sink_->checksums()));
  }

  Catalogue* catalogue_;
  const v1::Run run_;
  const bool open_;
  FileSink* sink_;
  std::vector<NodeData> nodes_;
  std::unique_ptr<Layout> layout_;
  std::vector<GapRow> gaps_;
  Tally tally_;
};

}  // namespace

absl::Status ExportRun(Catalogue* catalogue, const std::string& run, std::int64_t now_ns,
                       FileSink* sink) {
  auto found = catalogue->FindRun(run);
  if (!found.ok()) return found.status();
  const bool open = found->end_realtime_ns() == 0;
  if (open) found->set_end_realtime_ns(now_ns);
  return RunExport(catalogue, std::move(*found), open, sink).Go();
}

}  // namespace faultline
