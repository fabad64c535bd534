// SPDX-License-Identifier: Apache-2.0
//
// Makes batches for tests row by row, as the comments of telemetry.proto say that nodes make them;
// written from those comments, not from the agent's code.
#pragma once

#include <zstd.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "bpf/metric.h"
#include "faultline/v1/telemetry.pb.h"

namespace faultline {

// One value: absent, a number, or a histogram.
struct Cell {
  Cell() = default;
  Cell(std::int64_t number) : value(number) {}  // NOLINT: reads well in tests
  static Cell Null() { return {}; }
  static Cell Histogram(const std::vector<std::uint64_t>& observed) {
    Cell cell(static_cast<std::int64_t>(observed.size()));
    for (const std::uint64_t v : observed) {
      cell.sum += static_cast<std::int64_t>(v);
      ++cell.buckets[histogram_bucket(v)];
    }
    return cell;
  }

  std::optional<std::int64_t> value;
  std::int64_t sum = 0;
  std::map<std::uint32_t, std::uint64_t> buckets;
};

inline v1::Column MakeColumn(const std::string& name, v1::Kind kind, const std::string& unit) {
  v1::Column column;
  column.set_name(name);
  column.set_kind(kind);
  column.set_unit(unit);
  column.set_hook("test");
  column.set_meaning("Test, \"quoted\".");
  column.set_availability(v1::AVAILABILITY_AVAILABLE);
  return column;
}

// host: cpu_busy_ns (counter), memory_available_bytes (gauge); cgroup: cpu_time_ns (counter),
// memory_usage_bytes (gauge), runqueue_wait_ns (histogram); fault: fault_dose (counter).
inline v1::Schema TestSchema() {
  v1::Schema schema;
  schema.set_id(0xfeedfacecafebeefULL);
  auto* host = schema.add_tables();
  host->set_name("host");
  *host->add_columns() = MakeColumn("cpu_busy_ns", v1::KIND_COUNTER, "ns");
  *host->add_columns() = MakeColumn("memory_available_bytes", v1::KIND_GAUGE, "By");
  auto* cgroup = schema.add_tables();
  cgroup->set_name("cgroup");
  *cgroup->add_columns() = MakeColumn("cpu_time_ns", v1::KIND_COUNTER, "ns");
  *cgroup->add_columns() = MakeColumn("memory_usage_bytes", v1::KIND_GAUGE, "By");
  *cgroup->add_columns() = MakeColumn("runqueue_wait_ns", v1::KIND_HISTOGRAM, "ns");
  auto* fault = schema.add_tables();
  fault->set_name("fault");
  *fault->add_columns() = MakeColumn("fault_dose", v1::KIND_COUNTER, "1");
  return schema;
}

class BatchBuilder {
 public:
  explicit BatchBuilder(v1::Schema schema = TestSchema()) : schema_(std::move(schema)) {
    batch_.set_schema_id(schema_.id());
  }

  // Ids are given in order, from 1.
  std::uint64_t Entity(const std::string& table, const std::string& name,
                       const std::string& unit = "", const std::string& container = "") {
    auto* entity = batch_.add_entities();
    entity->set_id(static_cast<std::uint64_t>(batch_.entities_size()));
    entity->set_table(table);
    entity->set_name(name);
    entity->set_unit(unit);
    entity->set_container(container);
    return entity->id();
  }

  BatchBuilder& Frame(std::int64_t tick, std::int64_t begin_boottime_ns,
                      std::int64_t end_boottime_ns, std::int64_t realtime_offset_ns) {
    auto* frame = batch_.add_frames();
    frame->set_tick(tick);
    frame->set_begin_boottime_ns(begin_boottime_ns);
    frame->set_end_boottime_ns(end_boottime_ns);
    frame->set_realtime_offset_ns(realtime_offset_ns);
    return *this;
  }

  BatchBuilder& Active(const std::string& fault) {
    batch_.mutable_frames(batch_.frames_size() - 1)->add_active_faults(fault);
    return *this;
  }

  // A row of the newest frame. Rows of one table must follow each other.
  BatchBuilder& Row(const std::string& table, std::uint64_t entity,
                    const std::vector<Cell>& cells) {
    auto* frame = batch_.mutable_frames(batch_.frames_size() - 1);
    int index = 0;
    while (schema_.tables(index).name() != table) ++index;
    const auto table_index = static_cast<std::uint32_t>(index);
    v1::TableFrame* rows = nullptr;
    for (auto& candidate : *frame->mutable_tables()) {
      if (candidate.table() == table_index) rows = &candidate;
    }
    if (rows == nullptr) {
      rows = frame->add_tables();
      rows->set_table(table_index);
      for (int c = 0; c < schema_.tables(index).columns_size(); ++c) rows->add_columns();
    }
    rows->add_entities(entity);
    for (int c = 0; c < rows->columns_size(); ++c) {
      const bool histogram = schema_.tables(index).columns(c).kind() == v1::KIND_HISTOGRAM;
      Append(cells[static_cast<std::size_t>(c)], histogram, rows->entities_size() - 1,
             rows->mutable_columns(c));
    }
    return *this;
  }

  v1::Batch& batch() { return batch_; }
  const v1::Schema& schema() const { return schema_; }

  v1::EncodedBatch Encode(const std::string& epoch, std::uint64_t sequence) const {
    return EncodeBytes(Compact(batch_).SerializeAsString(), epoch, sequence);
  }

  static v1::EncodedBatch EncodeBytes(const std::string& bytes, const std::string& epoch,
                                      std::uint64_t sequence) {
    v1::EncodedBatch encoded;
    encoded.set_epoch(epoch);
    encoded.set_sequence(sequence);
    encoded.set_decoded_bytes(static_cast<std::uint32_t>(bytes.size()));
    ZSTD_CCtx* context = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
    std::string payload(ZSTD_compressBound(bytes.size()), '\0');
    payload.resize(
        ZSTD_compress2(context, payload.data(), payload.size(), bytes.data(), bytes.size()));
    ZSTD_freeCCtx(context);
    encoded.set_payload(payload);
    return encoded;
  }

 private:
  static void Append(const Cell& cell, bool histogram, int row, v1::ColumnFrame* column) {
    const auto byte = static_cast<std::size_t>(row / 8);
    if (column->nulls().size() <= byte) column->mutable_nulls()->push_back('\0');
    if (!cell.value.has_value()) {
      (*column->mutable_nulls())[byte] =
          static_cast<char>((*column->mutable_nulls())[byte] | (1 << (row % 8)));
    }
    column->add_values(cell.value.value_or(0));
    if (!histogram) return;
    column->add_sums(cell.sum);
    column->add_bucket_counts(static_cast<std::uint32_t>(cell.buckets.size()));
    std::uint32_t before = 0;
    for (const auto& [bucket, count] : cell.buckets) {
      column->add_buckets(bucket - before);
      column->add_buckets(count);
      before = bucket;
    }
  }

  // Drops what the format says to drop: columns of nulls only, null bits without a null.
  static v1::Batch Compact(v1::Batch batch) {
    for (auto& frame : *batch.mutable_frames()) {
      for (auto& table : *frame.mutable_tables()) {
        for (auto& column : *table.mutable_columns()) {
          int nulls = 0;
          for (const char c : column.nulls()) {
            nulls += __builtin_popcount(static_cast<unsigned char>(c));
          }
          if (nulls == 0) column.clear_nulls();
          if (nulls == table.entities_size()) column.Clear();
        }
      }
    }
    return batch;
  }

  v1::Schema schema_;
  v1::Batch batch_;
};

}  // namespace faultline
