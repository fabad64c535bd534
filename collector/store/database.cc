// SPDX-License-Identifier: Apache-2.0
#include "collector/store/database.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace faultline {
namespace {

absl::StatusCode CodeOf(int code) {
  switch (code & 0xff) {
    case SQLITE_FULL:
    case SQLITE_NOMEM:
      return absl::StatusCode::kResourceExhausted;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return absl::StatusCode::kDataLoss;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_IOERR:
      return absl::StatusCode::kUnavailable;
    case SQLITE_CANTOPEN:
      return absl::StatusCode::kNotFound;
    case SQLITE_PERM:
    case SQLITE_READONLY:
      return absl::StatusCode::kPermissionDenied;
    case SQLITE_INTERRUPT:
      return absl::StatusCode::kCancelled;
    case SQLITE_CONSTRAINT:
      return absl::StatusCode::kAlreadyExists;
    default:
      return absl::StatusCode::kInternal;
  }
}

// sqlite3_bind_* takes a null pointer for NULL; an empty view may hold one.
const char* Data(absl::string_view value) { return value.data() == nullptr ? "" : value.data(); }

}  // namespace

absl::StatusOr<std::unique_ptr<Database>> Database::Open(const std::string& path, Mode mode) {
  const int flags =
      mode == Mode::kReadOnly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
  sqlite3* handle = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &handle,
                                   flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nullptr);
  std::unique_ptr<Database> database(new Database(path, handle));
  if (code != SQLITE_OK) return database->StatusOf(code, "open");
  // Only a checkpoint or the recovery after a crash ever makes a connection wait.
  sqlite3_busy_timeout(handle, 5000);
  return database;
}

absl::Status Database::StatusOf(int code, absl::string_view what) const {
  const char* text = handle_ ? sqlite3_errmsg(handle_.get()) : sqlite3_errstr(code);
  return {CodeOf(code), absl::StrCat(path_, ": ", what, ": ", text, " (", code, ")")};
}

absl::Status Database::Run(const char* sql) {
  const int code = sqlite3_exec(handle_.get(), sql, nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? absl::OkStatus() : StatusOf(code, sql);
}

absl::StatusOr<sqlite3_stmt*> Database::Prepare(const char* sql) {
  auto& slot = statements_[sql];
  if (slot) return slot.get();
  sqlite3_stmt* statement = nullptr;
  const int code =
      sqlite3_prepare_v3(handle_.get(), sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  if (code != SQLITE_OK) return StatusOf(code, sql);
  slot.reset(statement);
  return statement;
}

Query::Query(Database& database, const char* sql) : database_(database) {
  auto statement = database.Prepare(sql);
  if (statement.ok()) {
    statement_ = *statement;
  } else {
    status_ = statement.status();
  }
}

Query::~Query() {
  if (statement_ == nullptr) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

void Query::Bound(int code) {
  if (code != SQLITE_OK && status_.ok()) status_ = database_.StatusOf(code, "bind");
}

Query& Query::Int(std::int64_t value) {
  if (statement_ != nullptr) Bound(sqlite3_bind_int64(statement_, next_parameter_++, value));
  return *this;
}

Query& Query::Text(absl::string_view value) {
  if (statement_ != nullptr) {
    Bound(sqlite3_bind_text64(statement_, next_parameter_++, Data(value), value.size(),
                              SQLITE_TRANSIENT, SQLITE_UTF8));
  }
  return *this;
}

Query& Query::Blob(absl::string_view value) {
  if (statement_ != nullptr) {
    Bound(sqlite3_bind_blob64(statement_, next_parameter_++, Data(value), value.size(),
                              SQLITE_TRANSIENT));
  }
  return *this;
}

absl::StatusOr<bool> Query::Next() {
  if (!status_.ok()) return status_;
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  status_ = database_.StatusOf(code, sqlite3_sql(statement_));
  return status_;
}

absl::Status Query::Run() {
  while (true) {
    const auto row = Next();
    if (!row.ok()) return row.status();
    if (!*row) return absl::OkStatus();
  }
}

absl::string_view Query::BytesAt(int column) const {
  const void* data = sqlite3_column_blob(statement_, column);
  const int size = sqlite3_column_bytes(statement_, column);
  if (data == nullptr || size <= 0) return {};
  return {static_cast<const char*>(data), static_cast<std::size_t>(size)};
}

}  // namespace faultline
