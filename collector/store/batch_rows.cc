// SPDX-License-Identifier: Apache-2.0
#include "collector/store/batch_rows.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/event.h"
#include "collector/store/fault_progress.h"
#include "proto/words.h"

namespace faultline {
namespace {

// The rows that a batch hangs below.
struct Place {
  std::int64_t node = 0;
  std::int64_t epoch = 0;
  std::uint64_t mark = 0;
};

absl::StatusOr<Place> FindPlace(Database& database, absl::string_view node_name,
                                absl::string_view epoch) {
  Place place;
  const auto node = FindNode(database, node_name);
  if (!node.ok()) return node.status();
  place.node = *node;
  const auto row = FindOrMakeEpoch(database, place.node, epoch, "", 0);
  if (!row.ok()) return row.status();
  place.epoch = *row;
  const auto mark = MarkOf(database, place.epoch);
  if (!mark.ok()) return mark.status();
  place.mark = *mark;
  return place;
}

absl::StatusOr<bool> IsStored(Database& database, std::int64_t epoch, std::uint64_t sequence) {
  Query query(database, "SELECT 1 FROM batches WHERE epoch = ? AND sequence = ?");
  return query.Int(epoch).Int(static_cast<std::int64_t>(sequence)).Next();
}

// 0 if no gap covers `sequence`, else the last sequence of the one that reaches furthest.
absl::StatusOr<std::uint64_t> GapAt(Database& database, std::int64_t epoch,
                                    std::uint64_t sequence) {
  const auto at = static_cast<std::int64_t>(sequence);
  Query query(database,
              "SELECT max(last) FROM gaps WHERE epoch = ? AND first > 0 AND first <= ? AND last >= "
              "?");
  const auto row = query.Int(epoch).Int(at).Int(at).Next();
  if (!row.ok()) return row.status();
  return static_cast<std::uint64_t>(query.IntAt(0));
}

// Moves the mark over everything that is stored or named lost.
absl::StatusOr<std::uint64_t> AdvanceMark(Database& database, std::int64_t epoch) {
  auto mark = MarkOf(database, epoch);
  if (!mark.ok()) return mark;
  std::uint64_t now = *mark;
  while (true) {
    const auto stored = IsStored(database, epoch, now + 1);
    if (!stored.ok()) return stored.status();
    if (*stored) {
      ++now;
      continue;
    }
    auto gap = GapAt(database, epoch, now + 1);
    if (!gap.ok()) return gap;
    if (*gap == 0) break;
    now = *gap;
  }
  if (now == *mark) return now;
  Query query(database, "UPDATE epochs SET mark = ? WHERE id = ?");
  const auto status = query.Int(static_cast<std::int64_t>(now)).Int(epoch).Run();
  if (!status.ok()) return status;
  return now;
}

absl::Status InsertEvent(Database& database, const Place& place, std::int64_t boottime_ns,
                         std::int64_t realtime_ns, absl::string_view kind,
                         absl::string_view detail) {
  Query query(database,
              "INSERT INTO events(node, epoch, boottime_ns, realtime_ns, kind, detail) "
              "VALUES(?, ?, ?, ?, ?, ?)");
  return query.Int(place.node)
      .Int(place.epoch)
      .Int(boottime_ns)
      .Int(realtime_ns)
      .Text(kind)
      .Text(detail)
      .Run();
}

// Real time minus BOOTTIME of the epoch's newest frame; 0: it never had one.
absl::StatusOr<std::int64_t> OffsetOf(Database& database, std::int64_t epoch) {
  Query query(database, "SELECT realtime_offset_ns FROM epochs WHERE id = ?");
  const auto row = query.Int(epoch).Next();
  if (!row.ok()) return row.status();
  return *row ? query.IntAt(0) : 0;
}

// Takes off the front of `gap` what was stored nevertheless: a batch whose acknowledgement was lost
// may have become a gap record at the node while it was here.
absl::Status CutStored(Database& database, std::int64_t epoch, std::int64_t offset_ns,
                       v1::Gap* gap) {
  // Record batches have no frames, and so no end.
  Query query(database,
              "SELECT sequence, samples, end_ns FROM batches WHERE epoch = ? AND sequence >= ? AND "
              "sequence <= ? AND end_ns > 0 ORDER BY sequence");
  query.Int(epoch)
      .Int(static_cast<std::int64_t>(gap->first_sequence()))
      .Int(static_cast<std::int64_t>(gap->last_sequence()));
  while (true) {
    const auto row = query.Next();
    if (!row.ok()) return row.status();
    if (!*row) return absl::OkStatus();
    gap->set_samples(std::max<std::int64_t>(0, gap->samples() - query.IntAt(1)));
    if (query.IntAt(0) != static_cast<std::int64_t>(gap->first_sequence())) continue;
    gap->set_first_sequence(gap->first_sequence() + 1);
    const std::int64_t from = query.IntAt(2) - offset_ns;
    if (from > gap->begin_boottime_ns() && from <= gap->end_boottime_ns()) {
      gap->set_begin_boottime_ns(from);
    }
  }
}

absl::Status InsertGap(Database& database, std::int64_t node, std::int64_t epoch, v1::Gap gap,
                       std::int64_t offset_ns) {
  auto status = CutStored(database, epoch, offset_ns, &gap);
  if (!status.ok()) return status;
  const auto first = static_cast<std::int64_t>(gap.first_sequence());
  const auto last = static_cast<std::int64_t>(gap.last_sequence());
  // All of it was stored.
  if (first > last) return absl::OkStatus();
  // A record that covers an earlier one was made of it, and counts it.
  Query replaced(database,
                 "DELETE FROM gaps WHERE epoch = ? AND first > 0 AND first >= ? AND last <= ?");
  status = replaced.Int(epoch).Int(first).Int(last).Run();
  if (!status.ok()) return status;
  const auto realtime = [&](std::int64_t boottime) {
    return boottime == 0 || offset_ns == 0 ? 0 : boottime + offset_ns;
  };
  Query query(database,
              "INSERT OR IGNORE INTO gaps(node, epoch, first, last, begin_boottime_ns, "
              "end_boottime_ns, begin_ns, end_ns, samples, reason) VALUES(?, ?, ?, ?, ?, ?, ?, ?, "
              "?, ?)");
  return query.Int(node)
      .Int(epoch)
      .Int(first)
      .Int(last)
      .Int(gap.begin_boottime_ns())
      .Int(gap.end_boottime_ns())
      .Int(realtime(gap.begin_boottime_ns()))
      .Int(realtime(gap.end_boottime_ns()))
      .Int(gap.samples())
      .Text(gap.reason())
      .Run();
}

absl::Status InsertGaps(Database& database, const Place& place, const v1::Batch& content) {
  for (const v1::Gap& gap : content.gaps()) {
    const auto epoch = FindOrMakeEpoch(database, place.node, gap.epoch(), "", 0);
    if (!epoch.ok()) return epoch.status();
    const auto offset = OffsetOf(database, *epoch);
    if (!offset.ok()) return offset.status();
    auto status = InsertGap(database, place.node, *epoch, gap, *offset);
    if (!status.ok()) return status;
    const auto mark = AdvanceMark(database, *epoch);
    if (!mark.ok()) return mark.status();
  }
  return absl::OkStatus();
}

absl::Status InsertEntities(Database& database, std::int64_t epoch, const v1::Batch& content) {
  for (const v1::Entity& entity : content.entities()) {
    Query query(database,
                "INSERT OR IGNORE INTO entities(epoch, entity, tbl, name, unit, container) "
                "VALUES(?, ?, ?, ?, ?, ?)");
    auto status = query.Int(epoch)
                      .Int(static_cast<std::int64_t>(entity.id()))
                      .Text(entity.table())
                      .Text(entity.name())
                      .Text(entity.unit())
                      .Text(entity.container())
                      .Run();
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status InsertBatchRow(Database& database, const Place& place, const CheckedBatch& batch) {
  Query schema(database, "SELECT id FROM schemas WHERE node = ? AND fingerprint = ?");
  const auto row =
      schema.Int(place.node).Int(static_cast<std::int64_t>(batch.content.schema_id())).Next();
  if (!row.ok()) return row.status();
  if (!*row) return absl::FailedPreconditionError("the schema of the batch is not known");
  Query query(database,
              "INSERT INTO batches(node, epoch, sequence, schema, begin_ns, end_ns, decoded_bytes, "
              "samples, payload) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?)");
  return query.Int(place.node)
      .Int(place.epoch)
      .Int(static_cast<std::int64_t>(batch.encoded.sequence()))
      .Int(schema.IntAt(0))
      .Int(batch.begin_ns)
      .Int(batch.end_ns)
      .Int(batch.encoded.decoded_bytes())
      .Int(batch.samples)
      .Blob(batch.encoded.payload())
      .Run();
}

// Says once per hole that something is missing which no gap names.
absl::Status ReportHole(Database& database, const Place& place, std::uint64_t mark,
                        const CheckedBatch& batch, absl::string_view node_name,
                        std::int64_t now_ns) {
  const std::uint64_t sequence = batch.encoded.sequence();
  if (mark >= sequence || batch.awaited.count(mark + 1) != 0) return absl::OkStatus();
  Query query(database,
              "UPDATE epochs SET hole_reported = ?1 WHERE id = ?2 AND hole_reported <> ?1");
  auto status = query.Int(static_cast<std::int64_t>(mark + 1)).Int(place.epoch).Run();
  if (!status.ok() || database.changes() == 0) return status;
  const std::string detail = absl::StrCat("batch ", sequence, " came while ", mark + 1,
                                          " is neither stored nor named in a gap");
  LogEvent(Event::kSequenceHole,
           {{kNodeField, node_name}, {kSequenceField, absl::StrCat(mark + 1)}}, "node ", node_name,
           ": ", detail);
  return InsertEvent(database, place, 0, now_ns, "sequence_hole", detail);
}

absl::Status ReportDropped(Database& database, const Place& place, const CheckedBatch& batch,
                           std::int64_t now_ns) {
  if (batch.faults_dropped == 0) return absl::OkStatus();
  return InsertEvent(database, place, 0, now_ns, "faults_dropped",
                     absl::StrCat("batch ", batch.encoded.sequence(), " told of ",
                                  batch.faults_dropped, " faults without a usable id"));
}

absl::Status UpdateCounters(Database& database, const Place& place, const CheckedBatch& batch,
                            std::int64_t now_ns) {
  Query node(database,
             "UPDATE nodes SET last_seen_ns = ?, batches = batches + 1, last_frame_ns = "
             "max(last_frame_ns, ?) WHERE id = ?");
  return node.Int(now_ns).Int(batch.end_ns).Int(place.node).Run();
}

absl::Status SaveOffset(Database& database, const Place& place, const CheckedBatch& batch) {
  if (batch.end_ns == 0) return absl::OkStatus();
  Query query(database, "UPDATE epochs SET realtime_offset_ns = ? WHERE id = ?");
  auto status = query.Int(batch.realtime_offset_ns).Int(place.epoch).Run();
  if (!status.ok()) return status;
  // What came before the first frame of the epoch has no real time until now.
  Query gaps(database,
             "UPDATE gaps SET begin_ns = begin_boottime_ns + ?1, end_ns = end_boottime_ns + ?1 "
             "WHERE epoch = ?2 AND begin_ns = 0 AND begin_boottime_ns > 0");
  status = gaps.Int(batch.realtime_offset_ns).Int(place.epoch).Run();
  if (!status.ok()) return status;
  Query events(database,
               "UPDATE events SET realtime_ns = boottime_ns + ?1 WHERE epoch = ?2 AND "
               "realtime_ns = 0");
  return events.Int(batch.realtime_offset_ns).Int(place.epoch).Run();
}

absl::Status InsertEvents(Database& database, const Place& place, const v1::Batch& content) {
  if (content.events_size() == 0) return absl::OkStatus();
  const auto offset = OffsetOf(database, place.epoch);
  if (!offset.ok()) return offset.status();
  for (const v1::Event& event : content.events()) {
    const std::int64_t realtime_ns = *offset == 0 ? 0 : event.boottime_ns() + *offset;
    auto status = InsertEvent(database, place, event.boottime_ns(), realtime_ns, event.kind(),
                              event.detail());
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::int64_t> FindNode(Database& database, absl::string_view name) {
  Query query(database, "SELECT id FROM nodes WHERE name = ?");
  const auto row = query.Text(name).Next();
  if (!row.ok()) return row.status();
  if (!*row) return absl::NotFoundError(absl::StrCat("node ", name, " never said Hello"));
  return query.IntAt(0);
}

absl::StatusOr<std::int64_t> FindOrMakeEpoch(Database& database, std::int64_t node,
                                             absl::string_view epoch, absl::string_view boot_id,
                                             std::int64_t interval_ns) {
  Query insert(database,
               "INSERT INTO epochs(node, epoch, boot_id, interval_ns) VALUES(?1, ?2, ?3, ?4) "
               "ON CONFLICT(node, epoch) DO UPDATE SET boot_id = ?3, interval_ns = ?4 "
               "WHERE boot_id = '' AND ?3 <> ''");
  const auto status = insert.Int(node).Blob(epoch).Text(boot_id).Int(interval_ns).Run();
  if (!status.ok()) return status;
  Query query(database, "SELECT id FROM epochs WHERE node = ? AND epoch = ?");
  const auto row = query.Int(node).Blob(epoch).Next();
  if (!row.ok()) return row.status();
  return query.IntAt(0);
}

absl::StatusOr<std::uint64_t> MarkOf(Database& database, std::int64_t epoch) {
  Query query(database, "SELECT mark FROM epochs WHERE id = ?");
  const auto row = query.Int(epoch).Next();
  if (!row.ok()) return row.status();
  return static_cast<std::uint64_t>(query.IntAt(0));
}

absl::StatusOr<bool> MergeFault(Database& database, std::int64_t node, const v1::FaultState& told) {
  // No fault, whoever sent it.
  if (told.hold()) return false;
  v1::FaultState fault = told;
  // An answer to who asks, not a fact of the fault's.
  fault.clear_unknown_since_realtime_ns();
  {
    Query query(database, "SELECT state FROM faults WHERE node = ? AND fault = ?");
    const auto row = query.Int(node).Text(fault.spec().id()).Next();
    if (!row.ok()) return row.status();
    if (*row) {
      v1::FaultState known;
      const absl::string_view bytes = query.BytesAt(0);
      if (known.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
        if (!Supersedes(fault, known)) return false;
        KeepEvidence(known, &fault);
      }
    }
  }
  Query query(database,
              "INSERT OR REPLACE INTO faults(node, fault, commanded_ns, undone_ns, final, state) "
              "VALUES(?, ?, ?, ?, ?, ?)");
  const auto status = query.Int(node)
                          .Text(fault.spec().id())
                          .Int(fault.edges().commanded().realtime_ns())
                          .Int(fault.edges().undone().realtime_ns())
                          .Int(IsFinal(fault.phase()) ? 1 : 0)
                          .Blob(fault.SerializeAsString())
                          .Run();
  if (!status.ok()) return status;
  return true;
}

absl::StatusOr<BatchOutcome> InsertBatch(Database& database, absl::string_view node_name,
                                         const CheckedBatch& batch, std::int64_t now_ns) {
  const std::uint64_t sequence = batch.encoded.sequence();
  const auto place = FindPlace(database, node_name, batch.encoded.epoch());
  if (!place.ok()) return place.status();
  const auto stored = IsStored(database, place->epoch, sequence);
  if (!stored.ok()) return stored.status();
  BatchOutcome outcome;
  if (*stored || sequence <= place->mark) {
    outcome.duplicate = true;
    // A batch that we have may have become, at the node, the end of a range that it lost.
    const auto gaps = InsertGaps(database, *place, batch.content);
    if (!gaps.ok()) return gaps;
    const auto mark = MarkOf(database, place->epoch);
    if (!mark.ok()) return mark.status();
    outcome.durable_sequence = *mark;
    return outcome;
  }
  auto status = InsertBatchRow(database, *place, batch);
  if (status.ok()) status = SaveOffset(database, *place, batch);
  if (status.ok()) status = InsertEntities(database, place->epoch, batch.content);
  if (status.ok()) status = InsertEvents(database, *place, batch.content);
  if (status.ok()) status = ReportDropped(database, *place, batch, now_ns);
  if (status.ok()) status = InsertGaps(database, *place, batch.content);
  if (status.ok()) status = UpdateCounters(database, *place, batch, now_ns);
  if (!status.ok()) return status;
  for (v1::FaultState fault : batch.content.faults()) {
    fault.set_node(std::string(node_name));
    const auto news = MergeFault(database, place->node, fault);
    if (!news.ok()) return news.status();
    if (*news) outcome.faults.push_back(std::move(fault));
  }
  const auto mark = AdvanceMark(database, place->epoch);
  if (!mark.ok()) return mark.status();
  outcome.durable_sequence = *mark;
  status = ReportHole(database, *place, *mark, batch, node_name, now_ns);
  if (!status.ok()) return status;
  return outcome;
}

absl::StatusOr<std::uint64_t> InsertReject(Database& database, absl::string_view node_name,
                                           const Rejection& rejection, std::int64_t now_ns) {
  const auto place = FindPlace(database, node_name, rejection.epoch);
  if (!place.ok()) return place.status();
  const auto stored = IsStored(database, place->epoch, rejection.sequence);
  if (!stored.ok()) return stored.status();
  if (*stored || rejection.sequence <= place->mark) return place->mark;
  auto status =
      InsertEvent(database, *place, 0, now_ns, "batch_rejected",
                  absl::StrCat("batch ", rejection.sequence,
                               rejection.lost.has_value() ? " again: " : ": ", rejection.reason));
  if (!status.ok()) return status;
  if (!rejection.lost.has_value()) return place->mark;
  const auto offset = OffsetOf(database, place->epoch);
  if (!offset.ok()) return offset.status();
  status = InsertGap(database, place->node, place->epoch, *rejection.lost, *offset);
  if (!status.ok()) return status;
  return AdvanceMark(database, place->epoch);
}

}  // namespace faultline
