// SPDX-License-Identifier: Apache-2.0
//
// The undo journal: what will be restored, on disk before it is changed. One SQLite file (WAL,
// synchronous=FULL: a commit that returned survives a power cut). A fault's row is its whole
// FaultState; the plain columns beside it are for people with sqlite3. One thread at a time.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "faultline/v1/faults.pb.h"
#include "injector/hour_share.h"

namespace faultline {

class Journal {
 public:
  // Finished faults that are kept, newest first.
  static constexpr int kKept = 1000;

  // Opens or makes `path`. A damaged file is renamed (never deleted), every row of it that can
  // still be read is carried over, and complaints() says what happened.
  static absl::StatusOr<std::unique_ptr<Journal>> Open(const std::string& path);

  static std::string PathIn(const std::string& state_dir) { return state_dir + "/journal.db"; }
  // Whether there is one, or one that waits to take a damaged one's place; else errno says why not.
  static bool IsIn(const std::string& state_dir);

  // The earliest deadline, CLOCK_BOOTTIME ns, of what is open, of boot `boot_id`, has begun and is
  // not being undone; INT64_MAX: there is none. What is leased ends at `lease_until_ns` at the
  // latest. Reads beside whoever has the journal open, and changes nothing.
  static absl::StatusOr<std::int64_t> FirstDeadline(const std::string& path,
                                                    const std::string& boot_id,
                                                    std::int64_t lease_until_ns = INT64_MAX);
  ~Journal() = default;
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  // Makes room for what Save writes, for as long as this journal is open: a commit then overwrites
  // what the file has, and the file system has nothing of its own to commit with it. That is what
  // makes one in ten take three times as long. Without it everything works; best effort.
  void Reserve();

  // Inserts or replaces the row of each fault, and keeps what it took if it has ended: all of them
  // in one commit, durable when it returns OK, or none.
  absl::Status Save(absl::Span<const v1::FaultState> states);
  absl::Status Save(const v1::FaultState& state) { return Save(absl::MakeConstSpan(&state, 1)); }

  // Every row, oldest first. Rows that cannot be read are kept and complained about.
  absl::StatusOr<std::vector<v1::FaultState>> Load();

  // What faults took that ended within two hours of the newest end, also of those whose rows are
  // gone; some may come twice.
  absl::StatusOr<std::vector<Taken>> LoadTaken();

  // What stands until the service is removed (the network's planes), by object.
  absl::Status SaveStanding(const v1::Change& change);
  absl::StatusOr<std::vector<v1::Change>> LoadStanding();
  absl::Status ForgetStanding(const v1::Change& change);

  const std::vector<std::string>& complaints() const { return complaints_; }

 private:
  struct Closer {
    void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
  };
  using Database = std::unique_ptr<sqlite3, Closer>;
  using Statement = std::unique_ptr<sqlite3_stmt, Closer>;

  explicit Journal(std::string path) : path_(std::move(path)) {}
  // DataLoss: the file is damaged.
  absl::Status OpenFile();
  absl::Status SetAside(absl::string_view why);
  absl::Status Execute(const char* sql);
  absl::StatusOr<Statement> Prepare(const char* sql);
  absl::Status Error(absl::string_view what) const;
  absl::Status WriteRow(const v1::FaultState& state);
  // With what else the end of a fault changes.
  absl::Status Write(absl::Span<const v1::FaultState> states);
  absl::Status Keep(const Taken& taken);
  absl::Status Prune();
  void Checkpoint();
  // What is ready beside it becomes the journal.
  absl::Status TakePlace() const;
  // All that can be read of the file `from` into a new one, `to`; how many faults that were.
  static absl::StatusOr<int> CarryOver(const std::string& from, const std::string& to);
  absl::StatusOr<int> Take(Journal& old);

  const std::string path_;
  std::vector<std::string> complaints_;
  // Declared before the statement, which must go first.
  Database db_;
  Statement save_;
  // Pages in the write-ahead log.
  int log_pages_ = 0;
};

}  // namespace faultline
