// SPDX-License-Identifier: Apache-2.0
#include "agent/labels/labels.h"

#include <algorithm>
#include <set>

#include "proto/words.h"

namespace faultline {
namespace {

// Entity ids of faults start far above the sampler's, which count up from 1.
constexpr std::uint64_t kFirstFaultEntity = 1ULL << 48;

// Faults that ended this long before the window are forgotten, so that the map stays small.
constexpr std::int64_t kForgetAfterNs = 600'000'000'000;

void SetNull(int row, v1::ColumnFrame* column) {
  const auto bit = static_cast<size_t>(row);
  std::string& nulls = *column->mutable_nulls();
  if (nulls.size() <= bit / 8) nulls.resize(bit / 8 + 1);
  nulls[bit / 8] = static_cast<char>(nulls[bit / 8] | (1 << (bit % 8)));
}

// Over, and nothing of it can be in a window that begins at `begin_ns`. One that was refused has no
// end but the command.
bool IsOld(const v1::FaultState& state, std::int64_t begin_ns) {
  const v1::Edges& edges = state.edges();
  const std::int64_t undone = edges.undone().boottime_ns();
  if (undone == 0 && !IsFinal(state.phase())) return false;
  return std::max(undone, edges.commanded().boottime_ns()) < begin_ns - kForgetAfterNs;
}

}  // namespace

bool ActiveIn(const v1::FaultState& state, std::int64_t begin_ns, std::int64_t end_ns) {
  const std::int64_t acked = state.edges().acked().boottime_ns();
  const std::int64_t undone = state.edges().undone().boottime_ns();
  return acked != 0 && acked <= end_ns && (undone == 0 || undone >= begin_ns);
}

Labels::Labels(const v1::Schema& schema) : next_entity_(kFirstFaultEntity) {
  for (int t = 0; t < schema.tables_size(); ++t) {
    if (schema.tables(t).name() != "fault") continue;
    table_ = t;
    columns_ = schema.tables(t).columns_size();
    for (int c = 0; c < columns_; ++c) {
      const std::string& name = schema.tables(t).columns(c).name();
      if (name == "active") active_column_ = c;
      if (name == "fault_dose") dose_column_ = c;
      if (name == "fault_dose_total") total_column_ = c;
    }
  }
}

void Labels::Forget(absl::Span<const v1::FaultState> states, std::int64_t begin_ns) {
  std::set<absl::string_view> ids;
  for (const v1::FaultState& state : states) {
    if (!IsOld(state, begin_ns)) ids.insert(state.spec().id());
  }
  std::erase_if(known_, [&ids](const auto& entry) { return ids.count(entry.first) == 0; });
}

void Labels::AddRow(const v1::FaultState& state, bool seen, std::int64_t begin_ns, Known* known,
                    v1::TableFrame* table) {
  // A gauge dose (bytes held) counts by its change, too: what the fault did in this window.
  const std::int64_t total = state.dose().empty() ? 0 : state.dose(0).value();
  const bool measured = seen && !state.dose().empty();
  // What was done before this agent saw the fault, or while it did not see it, belongs to no window
  // of its own; and what an injector that died had counted may be more than its successor knows.
  const bool counted = measured &&
                       (known->counted || state.edges().acked().boottime_ns() >= begin_ns) &&
                       (state.dose(0).gauge() || total >= known->dose);
  const int row = table->entities_size();
  table->add_entities(known->entity);
  for (int c = 0; c < columns_; ++c) {
    std::int64_t value = 0;
    bool null = false;
    if (c == active_column_) {
      value = 1;
      null = !seen;
    } else if (c == dose_column_) {
      value = total - known->dose;
      null = !counted;
    } else if (c == total_column_) {
      value = total;
      null = !measured;
    }
    v1::ColumnFrame* column = table->mutable_columns(c);
    column->add_values(null ? 0 : value);
    if (null) SetNull(row, column);
  }
  known->counted = measured;
  if (measured) known->dose = total;
}

void Labels::Fill(absl::Span<const v1::FaultState> states, bool seen, v1::Frame* frame,
                  v1::Batch* batch) {
  v1::TableFrame* table = nullptr;
  if (table_ >= 0) {
    table = frame->add_tables();
    table->set_table(static_cast<std::uint32_t>(table_));
    for (int c = 0; c < columns_; ++c) table->add_columns();
  }
  const std::int64_t begin = frame->begin_boottime_ns();
  Forget(states, begin);
  for (const v1::FaultState& state : states) {
    if (IsOld(state, begin)) continue;
    const std::string& id = state.spec().id();
    Known& known = known_[id];
    if (known.entity == 0) known.entity = next_entity_++;
    if (std::string told = state.SerializeAsString(); told != known.told) {
      *batch->add_faults() = state;
      known.told = std::move(told);
    }
    if (!ActiveIn(state, begin, frame->end_boottime_ns())) continue;
    // Not seeing the injector, nobody here knows what it or its death has ended.
    if (seen) frame->add_active_faults(id);
    if (table == nullptr) continue;
    v1::Entity* entity = batch->add_entities();
    entity->set_id(known.entity);
    entity->set_table("fault");
    entity->set_name(id);
    AddRow(state, seen, begin, &known, table);
  }
  if (table == nullptr) return;
  // The bitmap covers every entity or is empty.
  const size_t bytes = (static_cast<size_t>(table->entities_size()) + 7) / 8;
  for (v1::ColumnFrame& column : *table->mutable_columns()) {
    if (!column.nulls().empty()) column.mutable_nulls()->resize(bytes);
  }
}

}  // namespace faultline
