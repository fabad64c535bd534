// SPDX-License-Identifier: Apache-2.0
#include "collector/store/schema.h"

#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"

namespace faultline {
namespace {

// "FLTC": tells file(1) and us that the file is a collector's.
constexpr std::int64_t kApplicationId = 0x464c5443;
constexpr std::int64_t kVersion = 2;
// Above this a whole check would hold up the start (promises: 5 s); SQLite still finds damage when
// it meets it.
constexpr std::uintmax_t kFullCheckBytes = 256U << 20;

// Times are CLOCK_REALTIME ns unless the name says boottime. `node` and `epoch` are row ids.
constexpr const char* kLayout1 = R"sql(
CREATE TABLE nodes(
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  node BLOB NOT NULL,                -- v1.Node
  schema INTEGER NOT NULL,
  interval_ns INTEGER NOT NULL,
  last_seen_ns INTEGER NOT NULL,
  last_frame_ns INTEGER NOT NULL DEFAULT 0,
  batches INTEGER NOT NULL DEFAULT 0);
CREATE TABLE schemas(
  id INTEGER PRIMARY KEY,
  node INTEGER NOT NULL REFERENCES nodes,
  fingerprint INTEGER NOT NULL,      -- v1.Schema.id, its 64 bits read as signed
  schema BLOB NOT NULL,              -- v1.Schema
  UNIQUE(node, fingerprint));
CREATE TABLE epochs(
  id INTEGER PRIMARY KEY,
  node INTEGER NOT NULL REFERENCES nodes,
  epoch BLOB NOT NULL,
  boot_id TEXT NOT NULL,             -- empty: no Hello ever named this epoch
  interval_ns INTEGER NOT NULL,
  realtime_offset_ns INTEGER NOT NULL DEFAULT 0,  -- of its newest frame
  mark INTEGER NOT NULL DEFAULT 0,   -- all up to here is stored or named in gaps
  hole_reported INTEGER NOT NULL DEFAULT 0,
  UNIQUE(node, epoch));
CREATE TABLE batches(
  id INTEGER PRIMARY KEY,
  node INTEGER NOT NULL REFERENCES nodes,
  epoch INTEGER NOT NULL REFERENCES epochs,
  sequence INTEGER NOT NULL,
  schema INTEGER NOT NULL REFERENCES schemas,
  begin_ns INTEGER NOT NULL,         -- window of its frames; 0: it has none
  end_ns INTEGER NOT NULL,
  decoded_bytes INTEGER NOT NULL,
  samples INTEGER NOT NULL,
  payload BLOB NOT NULL,             -- as received
  UNIQUE(epoch, sequence));
CREATE INDEX batches_by_time ON batches(node, end_ns, id, begin_ns);
CREATE TABLE entities(
  epoch INTEGER NOT NULL REFERENCES epochs,
  entity INTEGER NOT NULL,           -- v1.Entity.id
  tbl TEXT NOT NULL,
  name TEXT NOT NULL,
  unit TEXT NOT NULL,
  container TEXT NOT NULL,
  PRIMARY KEY(epoch, entity)) WITHOUT ROWID;
CREATE TABLE faults(
  node INTEGER NOT NULL REFERENCES nodes,
  fault TEXT NOT NULL,               -- v1.FaultSpec.id
  commanded_ns INTEGER NOT NULL,
  undone_ns INTEGER NOT NULL,        -- 0: not yet
  final INTEGER NOT NULL,
  state BLOB NOT NULL,               -- v1.FaultState
  PRIMARY KEY(node, fault));
CREATE INDEX faults_by_id ON faults(fault);
CREATE INDEX faults_by_time ON faults(commanded_ns);
CREATE TABLE gaps(
  id INTEGER PRIMARY KEY,
  node INTEGER NOT NULL REFERENCES nodes,
  epoch INTEGER NOT NULL REFERENCES epochs,
  first INTEGER NOT NULL,
  last INTEGER NOT NULL,
  begin_boottime_ns INTEGER NOT NULL,
  end_boottime_ns INTEGER NOT NULL,
  begin_ns INTEGER NOT NULL,         -- 0: not known
  end_ns INTEGER NOT NULL,
  samples INTEGER NOT NULL,
  reason TEXT NOT NULL,
  UNIQUE(epoch, first, last, begin_boottime_ns, reason));
CREATE TABLE events(
  id INTEGER PRIMARY KEY,
  node INTEGER NOT NULL REFERENCES nodes,
  epoch INTEGER NOT NULL REFERENCES epochs,
  boottime_ns INTEGER NOT NULL,      -- 0: the collector saw it
  realtime_ns INTEGER NOT NULL,
  kind TEXT NOT NULL,
  detail TEXT NOT NULL);
CREATE INDEX events_by_time ON events(node, realtime_ns);
CREATE TABLE runs(
  name TEXT PRIMARY KEY,
  begin_ns INTEGER NOT NULL,
  end_ns INTEGER NOT NULL DEFAULT 0,
  note TEXT NOT NULL);
PRAGMA user_version = 1;
)sql";

// What a run is about, and what was held for it.
constexpr const char* kLayout2 = R"sql(
ALTER TABLE runs ADD COLUMN targets BLOB NOT NULL DEFAULT x'';  -- v1.Run with its targets only
PRAGMA user_version = 2;
)sql";

absl::StatusOr<std::int64_t> Pragma(Database& database, const char* sql) {
  Query query(database, sql);
  const auto row = query.Next();
  if (!row.ok()) return row.status();
  return *row ? query.IntAt(0) : 0;
}

absl::Status Damaged(const std::string& path, absl::string_view what) {
  return absl::DataLossError(absl::StrCat(
      path, " is damaged (", what, "). Either recover what is readable: sqlite3 ", path,
      " .recover | sqlite3 recovered.db, and put recovered.db in its place; or move the file and "
      "its -wal away to start with an empty store. Nodes send again only what was never "
      "acknowledged."));
}

absl::Status CheckContent(Database& database, const std::string& path) {
  std::error_code error;
  if (std::filesystem::file_size(path, error) > kFullCheckBytes) return absl::OkStatus();
  Query query(database, "PRAGMA quick_check(1)");
  const auto row = query.Next();
  if (!row.ok()) return row.status();
  if (*row && query.BytesAt(0) != "ok") return absl::DataLossError(query.BytesAt(0));
  return absl::OkStatus();
}

// All of the layouts after `from`, or nothing.
absl::Status MakeLayout(Database& database, std::int64_t from) {
  auto status = database.Run("PRAGMA application_id = 0x464c5443");
  if (!status.ok()) return status;
  status = database.Run("BEGIN IMMEDIATE");
  if (status.ok() && from < 1) status = database.Run(kLayout1);
  if (status.ok() && from < 2) status = database.Run(kLayout2);
  if (status.ok()) return database.Run("COMMIT");
  // The error that matters is the first.
  (void)database.Run("ROLLBACK");
  return status;
}

absl::Status BringUpToDate(Database& database, const std::string& path) {
  const auto version = Pragma(database, "PRAGMA user_version");
  if (!version.ok()) return version.status();
  const auto tables = Pragma(database, "SELECT count(*) FROM sqlite_schema");
  if (!tables.ok()) return tables.status();
  if (*version == 0 && *tables == 0) return MakeLayout(database, 0);
  const auto application = Pragma(database, "PRAGMA application_id");
  if (!application.ok()) return application.status();
  if (*application != kApplicationId) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " is a database of another program; name another --state-dir"));
  }
  if (*version > kVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat(path, " has layout ", *version, ", made by a newer collector; this one knows ",
                     kVersion, ". Install the newer collector, or name another --state-dir."));
  }
  const auto status = CheckContent(database, path);
  if (!status.ok() || *version == kVersion) return status;
  return MakeLayout(database, *version);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Database>> OpenStoreFile(const std::string& path) {
  auto database = Database::Open(path, Database::Mode::kReadWrite);
  if (!database.ok()) return database.status();
  auto status = (*database)->Run(
      "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA journal_size_limit = 67108864;"
      "PRAGMA cache_size = -8192; PRAGMA foreign_keys = ON;");
  if (status.ok()) status = BringUpToDate(**database, path);
  if (absl::IsDataLoss(status)) return Damaged(path, status.message());
  if (!status.ok()) return status;
  return database;
}

absl::Status Touch(Database& database) {
  // SQLite writes the page whether the number is new or not.
  static_assert(kVersion == 2);
  return database.Run("PRAGMA user_version = 2");
}

}  // namespace faultline
