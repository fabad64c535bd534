// SPDX-License-Identifier: Apache-2.0
#include "collector/dataset/table_file.h"

#include <algorithm>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "collector/dataset/batch_stream.h"
#include "collector/dataset/csv.h"
#include "collector/dataset/frame_values.h"

namespace faultline {
namespace {

using EntityNames = std::map<std::uint64_t, const std::string*>;

EntityNames NamesOf(const v1::Batch& batch) {
  EntityNames names;
  for (const v1::Entity& entity : batch.entities()) names[entity.id()] = &entity.name();
  return names;
}

// What the fault with this id did in the window, from its row of the fault table: the first counter
// that the table has.
Value DoseOf(const v1::Frame& frame, const std::vector<TableMap>& maps, const v1::Schema& schema,
             const EntityNames& names, const std::string& fault) {
  for (const v1::TableFrame& table : frame.tables()) {
    const v1::TableSchema& columns = schema.tables(static_cast<int>(table.table()));
    if (columns.name() != "fault" || table.table() >= maps.size()) continue;
    const auto counter =
        std::find_if(columns.columns().begin(), columns.columns().end(),
                     [](const v1::Column& column) { return column.kind() == v1::KIND_COUNTER; });
    if (counter == columns.columns().end()) return {};
    const v1::ColumnFrame& values =
        table.columns(static_cast<int>(counter - columns.columns().begin()));
    for (int row = 0; row < table.entities_size(); ++row) {
      const auto name = names.find(table.entities(row));
      if (name == names.end() || *name->second != fault) continue;
      return Increment(values, row, counter->scale());
    }
  }
  return {};
}

// The label columns of one window, but for the one that depends on the entity.
struct LabelText {
  // "fault_active,label,label_state,"
  std::string before;
  // ",fault_id,fault_type,dose\n"
  std::string after;
};

LabelText TextOf(const WindowLabel& label, const Value& dose) {
  LabelText text;
  const char* const active =
      label.fault_active.has_value() ? (*label.fault_active ? "1," : "0,") : ",";
  text.before = absl::StrCat(active, label.label ? "1," : "0,", LabelStateName(label.state), ",");
  std::string ids;
  std::string types;
  for (const FaultInterval* fault : label.faults) {
    absl::StrAppend(&ids, ids.empty() ? "" : ";", fault->state.spec().id());
    absl::StrAppend(&types, types.empty() ? "" : ";", fault->state.spec().type());
  }
  for (const std::string& id : label.unknown_faults) {
    absl::StrAppend(&ids, ids.empty() ? "" : ";", id);
  }
  text.after.push_back(',');
  AppendField(ids, &text.after);
  text.after.push_back(',');
  AppendField(types, &text.after);
  text.after.push_back(',');
  AppendValue(dose, &text.after);
  text.after.push_back('\n');
  return text;
}

bool IsLabelledTarget(const WindowLabel& label, const v1::Frame& frame, const std::string& table,
                      const std::string& entity) {
  if (!label.label) return false;
  return std::any_of(label.faults.begin(), label.faults.end(), [&](const FaultInterval* fault) {
    return fault->IsLabelled() &&
           fault->Covers(frame.begin_boottime_ns(), frame.end_boottime_ns()) &&
           IsTarget(fault->state, table, entity);
  });
}

// Without a fault the dose is known to be none, and a sham has nothing to count; where nobody can
// say whether there was one it is not known.
Value WindowDose(const WindowLabel& label, const v1::Frame& frame, const StoredBatch& batch,
                 const Layout& layout, const EntityNames& names) {
  if (!label.fault_active.has_value()) return {};
  const auto active = std::find_if(
      label.faults.begin(), label.faults.end(),
      [&](const FaultInterval* fault) { return !fault->state.sham() && fault->IsActive(frame); });
  if (active != label.faults.end()) {
    return DoseOf(frame, layout.Map(batch.schema), layout.schema(batch.schema), names,
                  (*active)->state.spec().id());
  }
  return label.unseen || !label.unknown_faults.empty() ? Value() : Value::Whole(0);
}

// Frames of one batch, as rows of one table.
class BatchRows {
 public:
  BatchRows(const Layout& layout, int table, const NodeData& node, const IntervalTable& intervals,
            const StoredBatch& batch)
      : layout_(layout),
        table_(table),
        output_(layout.tables()[static_cast<std::size_t>(table)]),
        node_(node),
        intervals_(intervals),
        batch_(batch),
        names_(NamesOf(batch.content)) {}

  void Append(const v1::Frame& frame, TableTally* tally, std::string* rows) const {
    for (const v1::TableFrame& table : frame.tables()) {
      const TableMap& map = layout_.Map(batch_.schema)[table.table()];
      if (map.table == table_ && table.entities_size() > 0) {
        AppendTable(frame, table, map, tally, rows);
      }
    }
  }

 private:
  void AppendTable(const v1::Frame& frame, const v1::TableFrame& table, const TableMap& map,
                   TableTally* tally, std::string* rows) const {
    const WindowLabel label = intervals_.Label(frame, node_.BootOf(batch_.epoch));
    const LabelText text = TextOf(label, WindowDose(label, frame, batch_, layout_, names_));
    const FrameValues values(frame, table, map, output_);
    std::string head;
    AppendTime(frame.end_boottime_ns() + frame.realtime_offset_ns(), &head);
    absl::StrAppend(&head, ",", node_.name, ",");
    for (int row = 0; row < table.entities_size(); ++row) {
      const std::string& entity = *names_.at(table.entities(row));
      rows->append(head);
      AppendField(entity, rows);
      rows->push_back(',');
      AppendValues(values, row, tally, rows);
      const bool target = IsLabelledTarget(label, frame, output_.name, entity);
      absl::StrAppend(rows, text.before, target ? "1" : "0", text.after);
      tally->entities.emplace(node_.name, entity);
      ++tally->rows;
      tally->labelled += label.label ? 1 : 0;
      tally->labelled_target += target ? 1 : 0;
      ++tally->states[static_cast<std::size_t>(label.state)];
    }
  }

  void AppendValues(const FrameValues& values, int row, TableTally* tally,
                    std::string* rows) const {
    for (std::size_t c = 0; c < output_.columns.size(); ++c) {
      const Value value = values.At(static_cast<int>(c), row);
      const bool null = value.is_null();
      ++(null ? tally->nulls : tally->samples);
      AppendValue(value, rows);
      rows->push_back(',');
    }
  }

  const Layout& layout_;
  const int table_;
  const OutputTable& output_;
  const NodeData& node_;
  const IntervalTable& intervals_;
  const StoredBatch& batch_;
  const EntityNames names_;
};

std::string Header(const OutputTable& table) {
  std::string line = "timestamp,node,entity";
  for (const OutputColumn& column : table.columns) absl::StrAppend(&line, ",", column.name);
  for (const char* name : kLabelColumns) absl::StrAppend(&line, ",", name);
  line.push_back('\n');
  return line;
}

}  // namespace

absl::Status TableFile::Write(Catalogue* catalogue, const std::vector<NodeData>& nodes,
                              const std::function<void()>& on_batch, FileSink* sink) {
  auto status = sink->Begin(absl::StrCat("data/", output().name, ".csv"));
  if (status.ok()) status = sink->Write(Header(output()));
  for (const NodeData& node : nodes) {
    if (status.ok()) status = WriteNode(catalogue, node, on_batch, sink);
  }
  return status.ok() ? sink->End() : status;
}

absl::Status TableFile::WriteNode(Catalogue* catalogue, const NodeData& node,
                                  const std::function<void()>& on_batch, FileSink* sink) {
  const IntervalTable intervals(node.faults, node.unseen);
  BatchStream stream(catalogue, node.range);
  while (true) {
    const auto more = stream.Next();
    if (!more.ok()) return more.status();
    if (!*more) return absl::OkStatus();
    const BatchRows batch(layout_, table_, node, intervals, stream.batch());
    for (const v1::Frame& frame : stream.batch().content.frames()) {
      if (!IsWithin(frame, run_.begin_realtime_ns(), run_.end_realtime_ns())) continue;
      std::string rows;
      batch.Append(frame, &tally_, &rows);
      auto status = sink->Write(rows);
      if (!status.ok()) return status;
    }
    on_batch();
  }
}

absl::Status CountWindows(Catalogue* catalogue, const std::vector<NodeData>& nodes,
                          const v1::Run& run, Tally* tally) {
  for (const NodeData& node : nodes) {
    const IntervalTable intervals(node.faults, node.unseen);
    BatchStream stream(catalogue, node.range);
    while (true) {
      const auto more = stream.Next();
      if (!more.ok()) return more.status();
      if (!*more) break;
      for (const v1::Frame& frame : stream.batch().content.frames()) {
        if (!IsWithin(frame, run.begin_realtime_ns(), run.end_realtime_ns())) continue;
        const WindowLabel label = intervals.Label(frame, node.BootOf(stream.batch().epoch));
        ++tally->windows;
        tally->windows_labelled += label.label ? 1 : 0;
        tally->windows_differing += label.facts_differ ? 1 : 0;
        ++tally->states[static_cast<std::size_t>(label.state)];
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace faultline
