// SPDX-License-Identifier: Apache-2.0
#include "injector/journal.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/status.h"
#include "base/sync.h"
#include "injector/injection.h"
#include "proto/words.h"

namespace faultline {
namespace {

// Version 1 of the file. `state` is a serialised v1::FaultState.
constexpr const char* kSchema =
    "CREATE TABLE IF NOT EXISTS faults ("
    " seq INTEGER PRIMARY KEY AUTOINCREMENT,"
    " id TEXT NOT NULL UNIQUE,"
    " type TEXT NOT NULL,"
    " phase TEXT NOT NULL,"
    " open INTEGER NOT NULL,"
    " boot_id TEXT NOT NULL,"
    " deadline_boottime_ns INTEGER NOT NULL,"
    " state BLOB NOT NULL);"
    // `change` is a serialised v1::Change: what stands until the service is removed.
    "CREATE TABLE IF NOT EXISTS standing ("
    " kind TEXT NOT NULL, object TEXT NOT NULL, change BLOB NOT NULL,"
    " PRIMARY KEY(kind, object));"
    // What faults took that have ended: as many as there were, while only so many rows are kept.
    "CREATE TABLE IF NOT EXISTS taken ("
    " boot_id TEXT NOT NULL,"
    " begin_boottime_ns INTEGER NOT NULL,"
    " end_boottime_ns INTEGER NOT NULL,"
    " realtime_offset_ns INTEGER NOT NULL);"
    "CREATE INDEX IF NOT EXISTS open_faults ON faults(open) WHERE open = 1;"
    "PRAGMA user_version = 1;";

constexpr const char* kSave =
    "INSERT INTO faults(id, type, phase, open, boot_id, deadline_boottime_ns, state)"
    " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)"
    " ON CONFLICT(id) DO UPDATE SET phase = ?3, open = ?4, state = ?7";

// An hour is looked at; the wall clock, by which other boots are compared, may be set meanwhile.
constexpr std::int64_t kTakenKeptNs = 2 * 3600 * kNsPerSecond;

// A new file on its way into the place of a damaged one; and what a database may have beside it.
constexpr char kFresh[] = ".new";
constexpr const char* kTails[] = {"", "-wal", "-shm"};

// The write-ahead log, in bytes: as much is reserved, and left when it was longer.
constexpr std::int64_t kLogBytes = 1 << 20;

// Pages of it that are carried over into the database at the end of a fault: the log is then far
// from its reserve, and no start waits for that. Without an end: as many as sqlite does it at.
constexpr int kCheckpointPages = 128;
constexpr int kMostLogPages = 1000;

bool Damaged(int code) {
  const int primary = code & 0xFF;
  return primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB;
}

void BindText(sqlite3_stmt* statement, int index, const std::string& text) {
  sqlite3_bind_text(statement, index, text.data(), static_cast<int>(text.size()), SQLITE_TRANSIENT);
}

std::string ColumnBytes(sqlite3_stmt* statement, int column) {
  const auto* data = static_cast<const char*>(sqlite3_column_blob(statement, column));
  const int size = sqlite3_column_bytes(statement, column);
  return data == nullptr ? std::string() : std::string(data, static_cast<size_t>(size));
}

}  // namespace

absl::Status Journal::Error(absl::string_view what) const {
  const int code = db_ == nullptr ? SQLITE_NOMEM : sqlite3_extended_errcode(db_.get());
  const std::string text = absl::StrCat("journal ", path_, ": ", what, ": ",
                                        db_ == nullptr ? "no memory" : sqlite3_errmsg(db_.get()));
  if (Damaged(code)) return absl::DataLossError(text);
  if ((code & 0xFF) == SQLITE_FULL) return absl::ResourceExhaustedError(text);
  return absl::InternalError(text);
}

absl::Status Journal::Execute(const char* sql) {
  if (sqlite3_exec(db_.get(), sql, nullptr, nullptr, nullptr) == SQLITE_OK) {
    return absl::OkStatus();
  }
  return Error(sql);
}

absl::StatusOr<Journal::Statement> Journal::Prepare(const char* sql) {
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v2(db_.get(), sql, -1, &statement, nullptr) != SQLITE_OK) return Error(sql);
  return Statement(statement);
}

absl::StatusOr<std::unique_ptr<Journal>> Journal::Open(const std::string& path) {
  std::unique_ptr<Journal> journal(new Journal(path));
  // A process ended while it put a new file in the place of a damaged one.
  if (!std::filesystem::exists(path) && std::filesystem::exists(path + kFresh)) {
    if (absl::Status status = journal->TakePlace(); !status.ok()) return status;
    journal->complaints_.push_back(
        absl::StrCat("the undo journal was damaged; what could be read of it was carried over, and "
                     "the rest, in ",
                     path, ".damaged-*, has to be undone by hand"));
  }
  absl::Status opened = journal->OpenFile();
  if (absl::IsDataLoss(opened)) {
    if (absl::Status aside = journal->SetAside(opened.message()); !aside.ok()) return aside;
  } else if (!opened.ok()) {
    return opened;
  }
  absl::StatusOr<Statement> save = journal->Prepare(kSave);
  if (!save.ok()) return save.status();
  journal->save_ = std::move(*save);
  return journal;
}

bool Journal::IsIn(const std::string& state_dir) {
  const std::string path = PathIn(state_dir);
  return ::access((path + kFresh).c_str(), F_OK) == 0 || ::access(path.c_str(), F_OK) == 0;
}

absl::StatusOr<std::int64_t> Journal::FirstDeadline(const std::string& path,
                                                    const std::string& boot_id,
                                                    std::int64_t lease_until_ns) {
  Journal journal(path);
  sqlite3* db = nullptr;
  const int opened =
      sqlite3_open_v2(path.c_str(), &db, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, nullptr);
  journal.db_.reset(db);
  if (opened != SQLITE_OK) return journal.Error("open");
  absl::StatusOr<Statement> rows = journal.Prepare(
      "SELECT deadline_boottime_ns, state FROM faults WHERE open = 1 AND boot_id = ?1 AND "
      "phase NOT IN ('PHASE_UNDOING', 'PHASE_ACCEPTED')");
  if (!rows.ok()) return rows.status();
  BindText(rows->get(), 1, boot_id);
  std::int64_t first_ns = INT64_MAX;
  int code = SQLITE_ROW;
  while ((code = sqlite3_step(rows->get())) == SQLITE_ROW) {
    v1::FaultState state;
    // One that nobody can read is undone by no injector, however often it is ended.
    if (!state.ParseFromString(ColumnBytes(rows->get(), 1))) continue;
    first_ns = std::min<std::int64_t>(first_ns, sqlite3_column_int64(rows->get(), 0));
    if (state.leased()) first_ns = std::min(first_ns, lease_until_ns);
  }
  if (code != SQLITE_DONE) return journal.Error("read the deadlines");
  return first_ns;
}

absl::Status Journal::OpenFile() {
  sqlite3* db = nullptr;
  const int code =
      sqlite3_open_v2(path_.c_str(), &db,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  db_.reset(db);
  if (code != SQLITE_OK) return Error("open");
  // A reader with sqlite3 must not make a fault fail.
  sqlite3_busy_timeout(db, 1000);
  for (const char* sql : {"PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL"}) {
    if (absl::Status status = Execute(sql); !status.ok()) return status;
  }
  const std::string limit = absl::StrCat("PRAGMA journal_size_limit = ", kLogBytes);
  if (absl::Status status = Execute(limit.c_str()); !status.ok()) return status;
  // In place of the checkpoints that sqlite makes by itself.
  sqlite3_wal_hook(
      db,
      [](void* pages, sqlite3* /*db*/, const char* /*name*/, int now) {
        *static_cast<int*>(pages) = now;
        return SQLITE_OK;
      },
      &log_pages_);
  absl::StatusOr<Statement> check = Prepare("PRAGMA quick_check(1)");
  if (!check.ok()) return check.status();
  if (sqlite3_step(check->get()) != SQLITE_ROW) return Error("check");
  if (const std::string verdict = ColumnBytes(check->get(), 0); verdict != "ok") {
    return absl::DataLossError(absl::StrCat("journal ", path_, ": ", verdict));
  }
  check->reset();
  return Execute(kSchema);
}

// What can still be read of the damaged file is carried over: each open row is a fault that has to
// be undone. Into a file of its own, in one commit, which then takes the damaged one's place: a
// process that ends on the way leaves the damaged file where it is, to whoever comes next.
absl::Status Journal::SetAside(absl::string_view why) {
  db_.reset();
  const std::string fresh = path_ + kFresh;
  for (const char* tail : kTails) (void)::unlink((fresh + tail).c_str());
  const absl::StatusOr<int> carried = CarryOver(path_, fresh);
  if (!carried.ok()) return carried.status();
  const std::string kept = absl::StrCat(path_, ".damaged-", ::time(nullptr), "-", ::getpid());
  for (const char* tail : kTails) {
    const std::string from = path_ + tail;
    if (::rename(from.c_str(), (kept + tail).c_str()) != 0 && errno != ENOENT) {
      return ErrnoStatus(errno, absl::StrCat("set the damaged journal ", from, " aside"));
    }
  }
  if (absl::Status status = TakePlace(); !status.ok()) return status;
  if (absl::Status status = OpenFile(); !status.ok()) return status;
  complaints_.push_back(absl::StrCat("the undo journal is damaged (", why, "); it is kept as ",
                                     kept, " and ", *carried,
                                     " of its faults were carried over; a fault that was lost with "
                                     "it has to be undone by hand"));
  return absl::OkStatus();
}

absl::Status Journal::TakePlace() const {
  // The old one's log would be read as the new one's.
  for (const char* tail : {"-wal", "-shm"}) (void)::unlink((path_ + tail).c_str());
  if (::rename((path_ + kFresh).c_str(), path_.c_str()) != 0) {
    return ErrnoStatus(errno, absl::StrCat("put a new journal in the place of ", path_));
  }
  return SyncFolderOf(path_);
}

absl::StatusOr<int> Journal::CarryOver(const std::string& from, const std::string& to) {
  Journal old(from);
  sqlite3* db = nullptr;
  sqlite3_open_v2(from.c_str(), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
  old.db_.reset(db);
  Journal fresh(to);
  absl::Status status = fresh.OpenFile();
  // One file, whole when it is closed.
  if (status.ok()) status = fresh.Execute("PRAGMA journal_mode = DELETE");
  if (!status.ok()) return status;
  absl::StatusOr<Statement> save = fresh.Prepare(kSave);
  if (!save.ok()) return save.status();
  fresh.save_ = std::move(*save);
  status = fresh.Execute("BEGIN IMMEDIATE");
  if (!status.ok()) return status;
  const absl::StatusOr<int> carried = fresh.Take(old);
  if (!carried.ok()) return carried.status();
  status = fresh.Execute("COMMIT");
  if (!status.ok()) return status;
  return *carried;
}

// Walks until the damage; what lies after it cannot be read.
absl::StatusOr<int> Journal::Take(Journal& old) {
  absl::Status status;
  if (const auto standing = old.LoadStanding(); standing.ok()) {
    for (const v1::Change& change : *standing) {
      if (status.ok()) status = SaveStanding(change);
    }
  }
  if (const absl::StatusOr<std::vector<Taken>> taken = old.LoadTaken(); taken.ok()) {
    for (const Taken& one : *taken) {
      if (status.ok()) status = Keep(one);
    }
  }
  int carried = 0;
  const absl::StatusOr<Statement> rows = old.Prepare("SELECT state FROM faults ORDER BY seq");
  while (status.ok() && rows.ok() && sqlite3_step(rows->get()) == SQLITE_ROW) {
    v1::FaultState state;
    if (!state.ParseFromString(ColumnBytes(rows->get(), 0))) continue;
    status = WriteRow(state);
    const std::optional<Taken> taken = IsFinal(state.phase()) ? TakenBy(state) : std::nullopt;
    if (status.ok() && taken.has_value()) status = Keep(*taken);
    ++carried;
  }
  if (!status.ok()) return status;
  return carried;
}

void Journal::Reserve() {
  sqlite3_file* log = nullptr;
  const int found = sqlite3_file_control(db_.get(), "main", SQLITE_FCNTL_JOURNAL_POINTER, &log);
  if (found != SQLITE_OK || log == nullptr || log->pMethods == nullptr) return;
  sqlite3_int64 size = 0;
  if (log->pMethods->xFileSize(log, &size) != SQLITE_OK) return;
  // Written, as an extent that is only promised is changed by its first write. No frame of a log
  // is all zeros, so they are none to whoever reads it.
  const std::string zeros(64 << 10, '\0');
  while (size < kLogBytes) {
    const auto chunk =
        static_cast<int>(std::min<std::int64_t>(kLogBytes - size, std::ssize(zeros)));
    if (log->pMethods->xWrite(log, zeros.data(), chunk, size) != SQLITE_OK) return;
    size += chunk;
  }
  log->pMethods->xSync(log, SQLITE_SYNC_NORMAL);
}

// What fails stays in the log, and is tried again.
void Journal::Checkpoint() {
  sqlite3_wal_checkpoint_v2(db_.get(), "main", SQLITE_CHECKPOINT_PASSIVE, nullptr, nullptr);
}

absl::Status Journal::Save(absl::Span<const v1::FaultState> states) {
  if (states.size() == 1 && !IsFinal(states.front().phase())) {
    absl::Status status = WriteRow(states.front());
    if (log_pages_ >= kMostLogPages) Checkpoint();
    return status;
  }
  absl::Status status = Execute("BEGIN IMMEDIATE");
  if (!status.ok()) return status;
  status = Write(states);
  if (status.ok()) status = Execute("COMMIT");
  // Some errors have rolled it back already.
  if (!status.ok()) sqlite3_exec(db_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
  const bool ended = std::any_of(states.begin(), states.end(), [](const v1::FaultState& state) {
    return IsFinal(state.phase());
  });
  if (log_pages_ >= (ended ? kCheckpointPages : kMostLogPages)) Checkpoint();
  return status;
}

absl::Status Journal::Write(absl::Span<const v1::FaultState> states) {
  bool ended = false;
  for (const v1::FaultState& state : states) {
    if (absl::Status status = WriteRow(state); !status.ok()) return status;
    if (!IsFinal(state.phase())) continue;
    ended = true;
    const std::optional<Taken> taken = TakenBy(state);
    if (!taken.has_value()) continue;
    if (absl::Status status = Keep(*taken); !status.ok()) return status;
  }
  return ended ? Prune() : absl::OkStatus();
}

absl::Status Journal::WriteRow(const v1::FaultState& state) {
  std::string bytes;
  if (!state.SerializeToString(&bytes)) {
    return absl::InternalError(absl::StrCat("fault ", state.spec().id(), " cannot be serialised"));
  }
  sqlite3_stmt* save = save_.get();
  BindText(save, 1, state.spec().id());
  BindText(save, 2, state.spec().type());
  BindText(save, 3, v1::Phase_Name(state.phase()));
  sqlite3_bind_int(save, 4, IsFinal(state.phase()) ? 0 : 1);
  BindText(save, 5, state.boot_id());
  sqlite3_bind_int64(save, 6, state.deadline_boottime_ns());
  sqlite3_bind_blob(save, 7, bytes.data(), static_cast<int>(bytes.size()), SQLITE_TRANSIENT);
  const int code = sqlite3_step(save);
  absl::Status status = code == SQLITE_DONE ? absl::OkStatus() : Error("save a fault");
  sqlite3_reset(save);
  sqlite3_clear_bindings(save);
  return status;
}

absl::Status Journal::Keep(const Taken& taken) {
  absl::StatusOr<Statement> keep = Prepare("INSERT INTO taken VALUES(?1, ?2, ?3, ?4)");
  if (!keep.ok()) return keep.status();
  BindText(keep->get(), 1, taken.boot_id);
  sqlite3_bind_int64(keep->get(), 2, taken.interval.begin_ns);
  sqlite3_bind_int64(keep->get(), 3, taken.interval.end_ns);
  sqlite3_bind_int64(keep->get(), 4, taken.realtime_offset_ns);
  if (sqlite3_step(keep->get()) != SQLITE_DONE) return Error("keep what a fault took");
  absl::StatusOr<Statement> forget = Prepare(
      "DELETE FROM taken WHERE CASE WHEN boot_id = ?1 THEN end_boottime_ns < ?2 "
      "ELSE end_boottime_ns + realtime_offset_ns < ?3 END");
  if (!forget.ok()) return forget.status();
  const std::int64_t before_ns = taken.interval.end_ns - kTakenKeptNs;
  BindText(forget->get(), 1, taken.boot_id);
  sqlite3_bind_int64(forget->get(), 2, before_ns);
  sqlite3_bind_int64(forget->get(), 3, before_ns + taken.realtime_offset_ns);
  return sqlite3_step(forget->get()) == SQLITE_DONE ? absl::OkStatus()
                                                    : Error("forget what faults took");
}

absl::StatusOr<std::vector<Taken>> Journal::LoadTaken() {
  absl::StatusOr<Statement> rows =
      Prepare("SELECT boot_id, begin_boottime_ns, end_boottime_ns, realtime_offset_ns FROM taken");
  if (!rows.ok()) return rows.status();
  std::vector<Taken> taken;
  int code = SQLITE_ROW;
  while ((code = sqlite3_step(rows->get())) == SQLITE_ROW) {
    taken.push_back({ColumnBytes(rows->get(), 0),
                     {sqlite3_column_int64(rows->get(), 1), sqlite3_column_int64(rows->get(), 2)},
                     sqlite3_column_int64(rows->get(), 3)});
  }
  if (code != SQLITE_DONE) return Error("read what faults took");
  return taken;
}

absl::Status Journal::Prune() {
  static_assert(kKept == 1000, "the statement below says so too");
  return Execute(
      "DELETE FROM faults WHERE open = 0 AND seq <= (SELECT seq FROM faults WHERE open = 0 ORDER "
      "BY "
      "seq DESC LIMIT 1 OFFSET 1000)");
}

absl::StatusOr<std::vector<v1::FaultState>> Journal::Load() {
  absl::StatusOr<Statement> rows = Prepare("SELECT id, state, type FROM faults ORDER BY seq");
  if (!rows.ok()) return rows.status();
  std::vector<v1::FaultState> states;
  int code = SQLITE_ROW;
  while ((code = sqlite3_step(rows->get())) == SQLITE_ROW) {
    v1::FaultState state;
    if (!state.ParseFromString(ColumnBytes(rows->get(), 1))) {
      complaints_.push_back(absl::StrCat("journal ", path_, ": the row of fault ",
                                         ColumnBytes(rows->get(), 0), " (",
                                         ColumnBytes(rows->get(), 2),
                                         ") cannot be read; it is kept, and the fault has to be "
                                         "undone by hand"));
      continue;
    }
    states.push_back(std::move(state));
  }
  if (code != SQLITE_DONE) return Error("read the faults");
  return states;
}

absl::Status Journal::SaveStanding(const v1::Change& change) {
  absl::StatusOr<Statement> save =
      Prepare("INSERT OR REPLACE INTO standing(kind, object, change) VALUES(?1, ?2, ?3)");
  if (!save.ok()) return save.status();
  const std::string bytes = change.SerializeAsString();
  BindText(save->get(), 1, change.kind());
  BindText(save->get(), 2, change.object());
  sqlite3_bind_blob(save->get(), 3, bytes.data(), static_cast<int>(bytes.size()), SQLITE_TRANSIENT);
  return sqlite3_step(save->get()) == SQLITE_DONE ? absl::OkStatus() : Error("save what stands");
}

absl::StatusOr<std::vector<v1::Change>> Journal::LoadStanding() {
  absl::StatusOr<Statement> rows = Prepare("SELECT change FROM standing ORDER BY kind, object");
  if (!rows.ok()) return rows.status();
  std::vector<v1::Change> changes;
  int code = SQLITE_ROW;
  while ((code = sqlite3_step(rows->get())) == SQLITE_ROW) {
    v1::Change change;
    if (!change.ParseFromString(ColumnBytes(rows->get(), 0))) {
      return absl::DataLossError(absl::StrCat("journal ", path_, ": what stands cannot be read"));
    }
    changes.push_back(std::move(change));
  }
  if (code != SQLITE_DONE) return Error("read what stands");
  return changes;
}

absl::Status Journal::ForgetStanding(const v1::Change& change) {
  absl::StatusOr<Statement> forget =
      Prepare("DELETE FROM standing WHERE kind = ?1 AND object = ?2");
  if (!forget.ok()) return forget.status();
  BindText(forget->get(), 1, change.kind());
  BindText(forget->get(), 2, change.object());
  return sqlite3_step(forget->get()) == SQLITE_DONE ? absl::OkStatus() : Error("forget what stood");
}

}  // namespace faultline
