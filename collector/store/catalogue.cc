// SPDX-License-Identifier: Apache-2.0
#include "collector/store/catalogue.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "collector/store/run_rows.h"

namespace faultline {
namespace {

template <typename Message>
absl::Status Parse(absl::string_view bytes, absl::string_view what, Message* message) {
  if (message->ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return absl::OkStatus();
  }
  return absl::DataLossError(absl::StrCat("stored ", what, " cannot be read"));
}

// Steps `query` to its end and calls `row` for each.
template <typename Row>
absl::Status ForEach(Query& query, const Row& row) {
  while (true) {
    const auto more = query.Next();
    if (!more.ok()) return more.status();
    if (!*more) return absl::OkStatus();
    absl::Status status = row();
    if (!status.ok()) return status;
  }
}

absl::StatusOr<std::vector<v1::FaultState>> ReadFaults(Query& query) {
  std::vector<v1::FaultState> faults;
  const auto status = ForEach(query, [&] {
    v1::FaultState fault;
    auto parsed = Parse(query.BytesAt(0), "fault", &fault);
    fault.set_node(query.StringAt(1));
    if (parsed.ok()) faults.push_back(std::move(fault));
    return parsed;
  });
  if (!status.ok()) return status;
  return faults;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Catalogue>> Catalogue::Open(const std::string& path) {
  auto database = Database::Open(path, Database::Mode::kReadOnly);
  if (!database.ok()) return database.status();
  return std::unique_ptr<Catalogue>(new Catalogue(std::move(*database)));
}

absl::StatusOr<std::vector<NodeRow>> Catalogue::Nodes() {
  Query query(*database_,
              "SELECT n.id, n.node, n.interval_ns, n.last_seen_ns, n.last_frame_ns, n.batches, "
              "(SELECT count(*) FROM gaps g WHERE g.node = n.id), s.schema, "
              "(SELECT iif(v.kind = 'injector_lost', v.realtime_ns, 0) FROM events v WHERE v.node "
              "= n.id AND v.epoch = (SELECT max(e.id) FROM epochs e WHERE e.node = n.id) AND "
              "v.kind IN ('injector_lost', 'injector_found', 'injector_absent') ORDER BY "
              "v.boottime_ns DESC, v.id DESC LIMIT 1) FROM nodes n JOIN schemas s ON s.id = "
              "n.schema ORDER BY "
              "n.name");
  std::vector<NodeRow> nodes;
  const auto status = ForEach(query, [&] {
    NodeRow row;
    row.id = query.IntAt(0);
    auto parsed = Parse(query.BytesAt(1), "node", row.status.mutable_node());
    row.status.set_interval_ns(query.IntAt(2));
    row.status.set_last_seen_realtime_ns(query.IntAt(3));
    row.status.set_last_frame_realtime_ns(query.IntAt(4));
    row.status.set_batches(query.IntAt(5));
    row.status.set_gaps(query.IntAt(6));
    if (parsed.ok()) parsed = Parse(query.BytesAt(7), "schema", row.status.mutable_schema());
    row.status.set_injector_lost_realtime_ns(query.IntAt(8));
    if (parsed.ok()) nodes.push_back(std::move(row));
    return parsed;
  });
  if (!status.ok()) return status;
  return nodes;
}

absl::StatusOr<std::vector<v1::Run>> Catalogue::Runs() { return ReadRuns(*database_); }

absl::StatusOr<v1::Run> Catalogue::FindRun(absl::string_view name) {
  return ReadRun(*database_, name);
}

absl::StatusOr<std::vector<v1::FaultState>> Catalogue::Faults(absl::string_view node,
                                                              bool active_only, int limit) {
  Query query(*database_,
              "SELECT f.state, n.name FROM faults f JOIN nodes n ON n.id = f.node WHERE (?1 = '' "
              "OR n.name = ?1) AND (?2 = 0 OR f.final = 0) ORDER BY f.commanded_ns DESC, f.fault "
              "LIMIT ?3");
  query.Text(node).Int(active_only ? 1 : 0).Int(limit);
  return ReadFaults(query);
}

absl::StatusOr<std::string> Catalogue::NodeOfFault(absl::string_view fault) {
  Query query(
      *database_,
      "SELECT n.name FROM faults f JOIN nodes n ON n.id = f.node WHERE f.fault = ? LIMIT 1");
  const auto row = query.Text(fault).Next();
  if (!row.ok()) return row.status();
  if (!*row) return absl::NotFoundError(absl::StrCat("no fault has the id ", fault));
  return query.StringAt(0);
}

absl::StatusOr<std::vector<v1::FaultState>> Catalogue::FaultsBetween(std::int64_t begin_ns,
                                                                     std::int64_t end_ns) {
  Query query(*database_,
              "SELECT f.state, n.name FROM faults f JOIN nodes n ON n.id = f.node WHERE "
              "f.commanded_ns <= ?1 AND (f.commanded_ns >= ?2 OR f.undone_ns >= ?2 OR f.final = 0) "
              "ORDER BY f.commanded_ns, n.name, f.fault");
  query.Int(end_ns).Int(begin_ns);
  return ReadFaults(query);
}

absl::StatusOr<std::vector<EpochRow>> Catalogue::Epochs(std::int64_t node) {
  Query query(*database_, "SELECT id, epoch, boot_id FROM epochs WHERE node = ? ORDER BY id");
  query.Int(node);
  std::vector<EpochRow> epochs;
  const auto status = ForEach(query, [&] {
    EpochRow row;
    row.id = query.IntAt(0);
    row.epoch = query.StringAt(1);
    row.boot_id = query.StringAt(2);
    epochs.push_back(std::move(row));
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return epochs;
}

absl::StatusOr<v1::Schema> Catalogue::FindSchema(std::int64_t id) {
  Query query(*database_, "SELECT schema FROM schemas WHERE id = ?");
  const auto row = query.Int(id).Next();
  if (!row.ok()) return row.status();
  if (!*row) return absl::DataLossError(absl::StrCat("schema ", id, " is not in the store"));
  v1::Schema schema;
  const auto status = Parse(query.BytesAt(0), "schema", &schema);
  if (!status.ok()) return status;
  return schema;
}

absl::StatusOr<std::vector<std::int64_t>> Catalogue::SchemasUsed(const BatchRange& range) {
  Query query(
      *database_,
      "SELECT DISTINCT schema FROM batches WHERE node = ? AND end_ns >= ? AND begin_ns <= ? "
      "AND id <= ? ORDER BY schema");
  query.Int(range.node).Int(range.begin_ns).Int(range.end_ns).Int(range.last_id);
  std::vector<std::int64_t> schemas;
  const auto status = ForEach(query, [&] {
    schemas.push_back(query.IntAt(0));
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return schemas;
}

absl::StatusOr<std::int64_t> Catalogue::LastBatch() {
  Query query(*database_, "SELECT ifnull(max(id), 0) FROM batches");
  const auto row = query.Next();
  if (!row.ok()) return row.status();
  return query.IntAt(0);
}

absl::StatusOr<std::vector<BatchRow>> Catalogue::Batches(const BatchRange& range,
                                                         const BatchRow& after, int limit) {
  Query query(
      *database_,
      "SELECT id, epoch, schema, sequence, end_ns, decoded_bytes, payload FROM batches "
      "INDEXED BY batches_by_time WHERE node = ?1 AND (end_ns, id) > (?2, ?3) AND end_ns >= "
      "?4 AND begin_ns <= ?5 AND id <= ?6 AND end_ns > 0 ORDER BY end_ns, id LIMIT ?7");
  query.Int(range.node)
      .Int(after.end_ns)
      .Int(after.id)
      .Int(range.begin_ns)
      .Int(range.end_ns)
      .Int(range.last_id)
      .Int(limit);
  std::vector<BatchRow> rows;
  const auto status = ForEach(query, [&] {
    BatchRow row;
    row.id = query.IntAt(0);
    row.epoch = query.IntAt(1);
    row.schema = query.IntAt(2);
    row.sequence = static_cast<std::uint64_t>(query.IntAt(3));
    row.end_ns = query.IntAt(4);
    row.decoded_bytes = static_cast<std::uint32_t>(query.IntAt(5));
    row.payload = query.StringAt(6);
    rows.push_back(std::move(row));
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return rows;
}

absl::StatusOr<std::int64_t> Catalogue::CountBatches(const BatchRange& range) {
  Query query(
      *database_,
      "SELECT count(*) FROM batches INDEXED BY batches_by_time WHERE node = ? AND end_ns >= "
      "? AND end_ns > 0 AND begin_ns <= ? AND id <= ?");
  const auto row =
      query.Int(range.node).Int(range.begin_ns).Int(range.end_ns).Int(range.last_id).Next();
  if (!row.ok()) return row.status();
  return query.IntAt(0);
}

absl::StatusOr<std::vector<GapRow>> Catalogue::Gaps(std::int64_t begin_ns, std::int64_t end_ns) {
  Query query(
      *database_,
      "SELECT n.name, e.epoch, g.first, g.last, g.begin_boottime_ns, g.end_boottime_ns, "
      "g.samples, g.reason, g.begin_ns, g.end_ns FROM gaps g JOIN nodes n ON n.id = g.node "
      "JOIN epochs e ON e.id = g.epoch WHERE g.begin_ns = 0 OR (g.end_ns >= ? AND g.begin_ns "
      "<= ?) ORDER BY n.name, g.begin_ns, g.id");
  query.Int(begin_ns).Int(end_ns);
  std::vector<GapRow> gaps;
  const auto status = ForEach(query, [&] {
    GapRow row;
    row.node = query.StringAt(0);
    row.epoch = query.StringAt(1);
    row.gap.set_epoch(row.epoch);
    row.gap.set_first_sequence(static_cast<std::uint64_t>(query.IntAt(2)));
    row.gap.set_last_sequence(static_cast<std::uint64_t>(query.IntAt(3)));
    row.gap.set_begin_boottime_ns(query.IntAt(4));
    row.gap.set_end_boottime_ns(query.IntAt(5));
    row.gap.set_samples(query.IntAt(6));
    row.gap.set_reason(query.StringAt(7));
    row.begin_ns = query.IntAt(8);
    row.end_ns = query.IntAt(9);
    gaps.push_back(std::move(row));
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return gaps;
}

absl::StatusOr<std::vector<EventRow>> Catalogue::Events(std::int64_t begin_ns,
                                                        std::int64_t end_ns) {
  Query query(
      *database_,
      "SELECT n.name, e.boot_id, v.boottime_ns, v.kind, v.detail, v.realtime_ns FROM events "
      "v JOIN nodes n ON n.id = v.node JOIN epochs e ON e.id = v.epoch WHERE v.realtime_ns "
      ">= ? AND v.realtime_ns <= ? ORDER BY n.name, v.epoch, v.boottime_ns, v.id");
  query.Int(begin_ns).Int(end_ns);
  std::vector<EventRow> events;
  const auto status = ForEach(query, [&] {
    EventRow row;
    row.node = query.StringAt(0);
    row.boot_id = query.StringAt(1);
    row.event.set_boottime_ns(query.IntAt(2));
    row.event.set_kind(query.StringAt(3));
    row.event.set_detail(query.StringAt(4));
    row.realtime_ns = query.IntAt(5);
    events.push_back(std::move(row));
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return events;
}

absl::StatusOr<std::vector<EntityRow>> Catalogue::Entities(std::int64_t begin_ns,
                                                           std::int64_t end_ns) {
  Query query(
      *database_,
      "SELECT DISTINCT n.name, t.tbl, t.name, t.unit, t.container FROM entities t JOIN "
      "epochs e ON e.id = t.epoch JOIN nodes n ON n.id = e.node WHERE EXISTS (SELECT 1 FROM "
      "batches b WHERE b.node = e.node AND b.epoch = e.id AND b.end_ns >= ? AND b.begin_ns "
      "<= ?) ORDER BY n.name, t.tbl, t.name, t.unit, t.container");
  query.Int(begin_ns).Int(end_ns);
  std::vector<EntityRow> entities;
  const auto status = ForEach(query, [&] {
    EntityRow row;
    row.node = query.StringAt(0);
    row.entity.set_table(query.StringAt(1));
    row.entity.set_name(query.StringAt(2));
    row.entity.set_unit(query.StringAt(3));
    row.entity.set_container(query.StringAt(4));
    entities.push_back(std::move(row));
    return absl::OkStatus();
  });
  if (!status.ok()) return status;
  return entities;
}

}  // namespace faultline
