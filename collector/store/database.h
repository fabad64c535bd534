// SPDX-License-Identifier: Apache-2.0
//
// One SQLite connection and the statements prepared on it: the only place that speaks SQLite's C
// interface. A connection belongs to one thread at a time; several connections share a file.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace faultline {

class Database {
 public:
  enum class Mode : std::uint8_t { kReadOnly, kReadWrite };

  // Opens (kReadWrite: or creates) the file. DataLoss: it is no database or it is damaged.
  static absl::StatusOr<std::unique_ptr<Database>> Open(const std::string& path, Mode mode);
  ~Database() = default;
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  // Runs statements without parameters.
  absl::Status Run(const char* sql);

  // Rows that the last INSERT, UPDATE or DELETE changed.
  std::int64_t changes() const { return sqlite3_changes64(handle_.get()); }
  std::int64_t last_insert_id() const { return sqlite3_last_insert_rowid(handle_.get()); }
  // False: no transaction is open; SQLite itself may have ended it (disk full, I/O error).
  bool in_transaction() const { return sqlite3_get_autocommit(handle_.get()) == 0; }
  // Asks a long statement of another thread to end; the only method for other threads.
  void Interrupt() { sqlite3_interrupt(handle_.get()); }

 private:
  friend class Query;
  struct Closer {
    void operator()(sqlite3* handle) const { sqlite3_close_v2(handle); }
  };
  struct Finalizer {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };

  Database(std::string path, sqlite3* handle) : path_(std::move(path)), handle_(handle) {}
  absl::Status StatusOf(int code, absl::string_view what) const;
  absl::StatusOr<sqlite3_stmt*> Prepare(const char* sql);

  std::string path_;
  std::unique_ptr<sqlite3, Closer> handle_;
  // By the address of the SQL, which is always a literal. Declared last: finalised first.
  std::map<const char*, std::unique_ptr<sqlite3_stmt, Finalizer>> statements_;
};

// One use of a statement: bind in order, step, read columns. Errors wait until Next or Run. Two
// uses of the same statement must not overlap.
class Query {
 public:
  // `sql` is a literal: it must live as long as the database.
  Query(Database& database, const char* sql);
  ~Query();
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;

  Query& Int(std::int64_t value);
  Query& Text(absl::string_view value);
  Query& Blob(absl::string_view value);

  // Steps; true while there is a row.
  absl::StatusOr<bool> Next();
  // Steps to the end.
  absl::Status Run();

  // Columns of the current row, from 0; views hold until the next step.
  std::int64_t IntAt(int column) const { return sqlite3_column_int64(statement_, column); }
  absl::string_view BytesAt(int column) const;
  std::string StringAt(int column) const { return std::string(BytesAt(column)); }

 private:
  void Bound(int code);

  Database& database_;
  sqlite3_stmt* statement_ = nullptr;
  int next_parameter_ = 1;
  absl::Status status_;
};

}  // namespace faultline
