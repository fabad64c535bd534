// SPDX-License-Identifier: Apache-2.0
#include "collector/check.h"

#include <zstd.h>

#include <algorithm>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "bpf/metric.h"
#include "collector/memory_bound.h"

namespace faultline {
namespace {

constexpr std::size_t kEpochBytes = 16;
constexpr int kMaxTables = 64;
constexpr int kMaxColumns = 1024;
constexpr int kMaxScale = 18;
constexpr std::size_t kMaxEntityName = 4096;
constexpr std::size_t kMaxFaultId = 128;

absl::Status Wrong(absl::string_view what) { return absl::InvalidArgumentError(what); }

// Lower snake case: a table is a file name, a column a header, both without quoting.
bool IsSnake(absl::string_view name) {
  const auto lower = [](char c) { return c >= 'a' && c <= 'z'; };
  if (name.empty() || name.size() > 96 || !lower(name[0])) return false;
  return std::all_of(name.begin(), name.end(),
                     [&](char c) { return lower(c) || (c >= '0' && c <= '9') || c == '_'; });
}

absl::Status CheckTable(const v1::TableSchema& table) {
  if (!IsSnake(table.name())) {
    return Wrong(absl::StrCat("table name \"", table.name(), "\" is not lower snake case"));
  }
  if (table.columns_size() > kMaxColumns) {
    return Wrong(absl::StrCat("table ", table.name(), " has more than ", kMaxColumns, " columns"));
  }
  std::set<std::string> names;
  for (const v1::Column& column : table.columns()) {
    const std::string place = absl::StrCat("column ", table.name(), ".", column.name());
    if (!IsSnake(column.name())) return Wrong(absl::StrCat(place, " is not lower snake case"));
    if (!names.insert(column.name()).second) return Wrong(absl::StrCat(place, " comes twice"));
    if (column.kind() < v1::KIND_COUNTER || column.kind() > v1::KIND_HISTOGRAM) {
      return Wrong(absl::StrCat(place, " has no kind"));
    }
    if (column.scale() < 0 || column.scale() > kMaxScale) {
      return Wrong(absl::StrCat(place, " has a scale outside 0 to ", kMaxScale));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckSchema(const v1::Schema& schema) {
  if (schema.tables_size() == 0) return Wrong("the schema has no table");
  if (schema.tables_size() > kMaxTables) {
    return Wrong(absl::StrCat("the schema has more than ", kMaxTables, " tables"));
  }
  std::set<std::string> names;
  for (const v1::TableSchema& table : schema.tables()) {
    if (!names.insert(table.name()).second) {
      return Wrong(absl::StrCat("table ", table.name(), " comes twice"));
    }
    auto status = CheckTable(table);
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> Decompress(const v1::EncodedBatch& encoded) {
  const std::string& payload = encoded.payload();
  if (encoded.decoded_bytes() > kMaxDecodedBytes) {
    return Wrong(absl::StrCat("the batch is ", encoded.decoded_bytes(), " bytes, more than ",
                              kMaxDecodedBytes));
  }
  // RFC 8878, 3.1.1.1.1: bit 2 of the byte after the magic number says that a checksum follows.
  if (payload.size() < 6 || (static_cast<unsigned char>(payload[4]) & 4U) == 0) {
    return Wrong("the payload is no zstd frame with checksum");
  }
  const std::size_t frame = ZSTD_findFrameCompressedSize(payload.data(), payload.size());
  if (ZSTD_isError(frame) != 0 || frame != payload.size()) {
    return Wrong("the payload is not exactly one zstd frame");
  }
  std::string decoded(encoded.decoded_bytes(), '\0');
  const std::size_t size =
      ZSTD_decompress(decoded.data(), decoded.size(), payload.data(), payload.size());
  if (ZSTD_isError(size) != 0) {
    return Wrong(absl::StrCat("the payload cannot be decompressed: ", ZSTD_getErrorName(size)));
  }
  if (size != decoded.size()) {
    return Wrong(
        absl::StrCat("the payload has ", size, " bytes where ", decoded.size(), " were announced"));
  }
  return decoded;
}

// Increments lie in buckets that exist, in ascending order, as many as announced.
absl::Status CheckBuckets(const v1::ColumnFrame& column, int rows) {
  if (column.bucket_counts_size() != rows || column.sums_size() != rows) {
    return Wrong("a histogram lacks sums or bucket counts");
  }
  std::int64_t next = 0;
  const std::int64_t size = column.buckets_size();
  for (int row = 0; row < rows; ++row) {
    std::uint64_t bucket = 0;
    const std::int64_t pairs = column.bucket_counts(row);
    if (pairs > HISTOGRAM_BUCKETS || next + 2 * pairs > size) {
      return Wrong("a histogram announces more buckets than it has");
    }
    for (std::int64_t pair = 0; pair < pairs; ++pair, next += 2) {
      const std::uint64_t delta = column.buckets(static_cast<int>(next));
      if (delta >= HISTOGRAM_BUCKETS || (pair > 0 && delta == 0)) {
        return Wrong("a histogram's buckets do not ascend");
      }
      bucket += delta;
      if (bucket >= HISTOGRAM_BUCKETS) return Wrong("a histogram names a bucket that is none");
    }
  }
  return next == size ? absl::OkStatus() : Wrong("a histogram has buckets of nobody");
}

absl::Status CheckColumn(const v1::ColumnFrame& column, const v1::Column& schema, int rows) {
  const bool empty = column.values_size() == 0;
  if (!empty && column.values_size() != rows) return Wrong("a column has not one value per entity");
  if (!column.nulls().empty() &&
      column.nulls().size() != static_cast<std::size_t>((rows + 7) / 8)) {
    return Wrong("a column's null bits are not one per entity");
  }
  if (schema.kind() == v1::KIND_HISTOGRAM && !empty) return CheckBuckets(column, rows);
  if (column.sums_size() + column.bucket_counts_size() + column.buckets_size() != 0) {
    return Wrong("a column has buckets that cannot be its own");
  }
  return absl::OkStatus();
}

using EntityTables = std::unordered_map<std::uint64_t, std::string>;

absl::Status CheckTableFrame(const v1::TableFrame& frame, const v1::Schema& schema,
                             const EntityTables& entities, std::int64_t* samples) {
  if (frame.table() >= static_cast<std::uint32_t>(schema.tables_size())) {
    return Wrong("a frame names a table that the schema lacks");
  }
  const v1::TableSchema& table = schema.tables(static_cast<int>(frame.table()));
  if (frame.columns_size() != table.columns_size()) {
    return Wrong(absl::StrCat("a frame of ", table.name(), " has ", frame.columns_size(),
                              " columns, the schema ", table.columns_size()));
  }
  std::unordered_set<std::uint64_t> seen;
  for (const std::uint64_t entity : frame.entities()) {
    const auto known = entities.find(entity);
    if (known == entities.end() || known->second != table.name() || !seen.insert(entity).second) {
      return Wrong(absl::StrCat("a frame of ", table.name(), " names entity ", entity,
                                " twice, or the batch does not describe it"));
    }
  }
  const int rows = frame.entities_size();
  for (int c = 0; c < frame.columns_size(); ++c) {
    const auto status = CheckColumn(frame.columns(c), table.columns(c), rows);
    if (!status.ok()) {
      return Wrong(
          absl::StrCat(table.name(), ".", table.columns(c).name(), ": ", status.message()));
    }
    for (int row = 0; row < rows; ++row) *samples += IsNull(frame.columns(c), row) ? 0 : 1;
  }
  return absl::OkStatus();
}

absl::StatusOr<EntityTables> CheckEntities(const v1::Batch& batch) {
  EntityTables entities;
  for (const v1::Entity& entity : batch.entities()) {
    if (entity.name().empty() || entity.name().size() > kMaxEntityName) {
      return Wrong(absl::StrCat("entity ", entity.id(), " has no name or one that is too long"));
    }
    if (!entities.emplace(entity.id(), entity.table()).second) {
      return Wrong(absl::StrCat("entity ", entity.id(), " is described twice"));
    }
  }
  return entities;
}

bool IsSound(const v1::Gap& gap) {
  return gap.epoch().size() == kEpochBytes && gap.first_sequence() <= gap.last_sequence() &&
         gap.last_sequence() <= INT64_MAX && gap.begin_boottime_ns() >= 0 &&
         gap.begin_boottime_ns() <= gap.end_boottime_ns() && gap.samples() >= 0;
}

absl::Status CheckGaps(const v1::Batch& batch) {
  const bool sound = std::all_of(batch.gaps().begin(), batch.gaps().end(), IsSound);
  if (sound) return absl::OkStatus();
  return Wrong("a gap has no epoch, or its end lies before its begin, or its count is negative");
}

// Takes out what nobody could ever name again; returns how many.
int DropNamelessFaults(v1::Batch* batch) {
  const int before = batch->faults_size();
  auto* faults = batch->mutable_faults();
  faults->erase(std::remove_if(faults->begin(), faults->end(),
                               [](const v1::FaultState& fault) {
                                 const std::size_t size = fault.spec().id().size();
                                 return size == 0 || size > kMaxFaultId;
                               }),
                faults->end());
  return before - batch->faults_size();
}

// Of a frame that failed its check, where sizes need not agree.
std::int64_t CountValues(const v1::Frame& frame) {
  std::int64_t values = 0;
  for (const v1::TableFrame& table : frame.tables()) {
    for (const v1::ColumnFrame& column : table.columns()) {
      const auto bits = static_cast<std::int64_t>(8 * column.nulls().size());
      for (int i = 0; i < column.values_size(); ++i) {
        values += i < bits && IsNull(column, i) ? 0 : 1;
      }
    }
  }
  return values;
}

void SetWindow(const v1::Batch& batch, CheckedBatch* checked) {
  for (const v1::Frame& frame : batch.frames()) {
    const std::int64_t offset = frame.realtime_offset_ns();
    const std::int64_t begin = frame.begin_boottime_ns() + offset;
    checked->begin_ns = checked->begin_ns == 0 ? begin : std::min(checked->begin_ns, begin);
    checked->end_ns = std::max(checked->end_ns, frame.end_boottime_ns() + offset);
    checked->realtime_offset_ns = offset;
  }
}

}  // namespace

absl::Status CheckName(absl::string_view name, absl::string_view what) {
  bool good = !name.empty() && name.size() <= 64 && name != "." && name != "..";
  for (const char c : name) {
    const bool alnum = absl::ascii_isalnum(static_cast<unsigned char>(c));
    good = good && (alnum || c == '.' || c == '_' || c == '-');
  }
  if (good) return absl::OkStatus();
  return Wrong(absl::StrCat(what, " is \"", absl::CHexEscape(name.substr(0, 80)),
                            "\"; it must have 1 to 64 letters, digits, '.', '_' or '-'"));
}

absl::Status CheckHello(const v1::Hello& hello) {
  auto status = CheckName(hello.node().id(), "the node's id");
  if (!status.ok()) return status;
  if (hello.epoch().size() != kEpochBytes) return Wrong("the epoch has not 16 bytes");
  if (hello.interval_ns() <= 0) return Wrong("the interval is not positive");
  if (hello.node().boot_id().size() > 64) return Wrong("the boot id is too long");
  return CheckSchema(hello.schema());
}

absl::Status CheckBatchKey(const v1::EncodedBatch& encoded) {
  if (encoded.epoch().size() != kEpochBytes) return Wrong("the batch's epoch has not 16 bytes");
  if (encoded.sequence() == 0 || encoded.sequence() > INT64_MAX) {
    return Wrong("the batch's sequence is not 1 or more");
  }
  return absl::OkStatus();
}

absl::StatusOr<v1::Batch> DecodeBatch(const v1::EncodedBatch& encoded) {
  const auto decoded = Decompress(encoded);
  if (!decoded.ok()) return decoded.status();
  const auto bytes = BatchMemoryBound(*decoded);
  if (!bytes.ok()) return bytes.status();
  if (*bytes > kMaxBatchMemory) {
    return Wrong(absl::StrCat("the batch would take ", *bytes, " bytes of memory, more than ",
                              kMaxBatchMemory));
  }
  v1::Batch batch;
  if (!batch.ParseFromString(*decoded)) return Wrong("the payload is no serialised Batch");
  return batch;
}

absl::StatusOr<std::int64_t> CheckBatch(const v1::Batch& batch, const v1::Schema& schema) {
  const auto entities = CheckEntities(batch);
  if (!entities.ok()) return entities.status();
  auto status = CheckGaps(batch);
  if (!status.ok()) return status;
  std::int64_t samples = 0;
  for (int f = 0; f < batch.frames_size(); ++f) {
    const v1::Frame& frame = batch.frames(f);
    if (frame.begin_boottime_ns() < 0 || frame.begin_boottime_ns() >= frame.end_boottime_ns()) {
      return Wrong("a frame's window does not end after its begin");
    }
    if (f > 0 && frame.tick() <= batch.frames(f - 1).tick()) {
      return Wrong("the ticks of a batch do not ascend");
    }
    std::unordered_set<std::uint32_t> tables;
    for (const v1::TableFrame& table : frame.tables()) {
      if (!tables.insert(table.table()).second) return Wrong("a frame has a table twice");
      status = CheckTableFrame(table, schema, *entities, &samples);
      if (!status.ok()) return status;
    }
  }
  return samples;
}

v1::Gap LostWith(const v1::EncodedBatch& encoded) {
  v1::Gap lost;
  lost.set_epoch(encoded.epoch());
  lost.set_first_sequence(encoded.sequence());
  lost.set_last_sequence(encoded.sequence());
  lost.set_reason("rejected");
  const auto batch = DecodeBatch(encoded);
  if (!batch.ok()) return lost;
  for (const v1::Gap& gap : batch->gaps()) {
    const bool own = gap.epoch() == encoded.epoch() && gap.first_sequence() <= encoded.sequence() &&
                     gap.last_sequence() == encoded.sequence();
    if (own && IsSound(gap)) return gap;
  }
  for (const v1::Frame& frame : batch->frames()) {
    lost.set_samples(lost.samples() + CountValues(frame));
    const std::int64_t begin = frame.begin_boottime_ns();
    if (begin <= 0 || begin >= frame.end_boottime_ns()) continue;
    const bool first = lost.begin_boottime_ns() == 0;
    lost.set_begin_boottime_ns(first ? begin : std::min(lost.begin_boottime_ns(), begin));
    lost.set_end_boottime_ns(std::max(lost.end_boottime_ns(), frame.end_boottime_ns()));
  }
  return lost;
}

absl::StatusOr<CheckedBatch> CheckEncodedBatch(const v1::EncodedBatch& encoded,
                                               const std::vector<v1::Schema>& schemas) {
  // A batch of one second with 5,000 series is far below.
  constexpr std::uint32_t kLarge = 2U << 20;
  static absl::Mutex large(absl::kConstInit);
  const absl::MutexLockMaybe lock(encoded.decoded_bytes() > kLarge ? &large : nullptr);
  CheckedBatch checked;
  auto batch = DecodeBatch(encoded);
  if (!batch.ok()) return batch.status();
  const auto schema = std::find_if(schemas.begin(), schemas.end(), [&](const v1::Schema& known) {
    return known.id() == batch->schema_id();
  });
  if (schema == schemas.end()) {
    return Wrong(absl::StrCat("the batch follows schema ", absl::Hex(batch->schema_id()),
                              ", which no Hello of this node described"));
  }
  const auto samples = CheckBatch(*batch, *schema);
  if (!samples.ok()) return samples.status();
  checked.samples = *samples;
  checked.faults_dropped = DropNamelessFaults(&*batch);
  SetWindow(*batch, &checked);
  batch->clear_frames();
  // A copy, because a cleared message keeps its memory.
  checked.content = *batch;
  return checked;
}

}  // namespace faultline
