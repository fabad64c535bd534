// SPDX-License-Identifier: Apache-2.0
#include "collector/store/run_rows.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace faultline {
namespace {

absl::StatusOr<v1::Run> RunAt(const Query& query) {
  v1::Run run;
  const absl::string_view bytes = query.BytesAt(4);
  if (!run.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return absl::DataLossError("the stored targets of a run cannot be read");
  }
  run.set_name(query.StringAt(0));
  run.set_begin_realtime_ns(query.IntAt(1));
  run.set_end_realtime_ns(query.IntAt(2));
  run.set_note(query.StringAt(3));
  return run;
}

// What the other columns do not have.
std::string TargetBytes(const v1::Run& run) {
  v1::Run targets;
  *targets.mutable_targets() = run.targets();
  return targets.SerializeAsString();
}

}  // namespace

absl::StatusOr<std::vector<v1::Run>> ReadRuns(Database& database) {
  Query query(database,
              "SELECT name, begin_ns, end_ns, note, targets FROM runs ORDER BY begin_ns, name");
  std::vector<v1::Run> runs;
  while (true) {
    const auto row = query.Next();
    if (!row.ok()) return row.status();
    if (!*row) return runs;
    auto run = RunAt(query);
    if (!run.ok()) return run.status();
    runs.push_back(*std::move(run));
  }
}

absl::StatusOr<v1::Run> ReadRun(Database& database, absl::string_view name) {
  Query query(database, "SELECT name, begin_ns, end_ns, note, targets FROM runs WHERE name = ?");
  const auto row = query.Text(name).Next();
  if (!row.ok()) return row.status();
  if (!*row) return absl::NotFoundError(absl::StrCat("no run is named ", name));
  return RunAt(query);
}

absl::StatusOr<v1::Run> InsertRun(Database& database, const v1::Run& run, std::int64_t now_ns) {
  if (ReadRun(database, run.name()).ok()) {
    return absl::AlreadyExistsError(
        absl::StrCat("run ", run.name(), " exists already; choose another name"));
  }
  Query query(database, "INSERT INTO runs(name, begin_ns, note, targets) VALUES(?, ?, ?, ?)");
  const auto status =
      query.Text(run.name()).Int(now_ns).Text(run.note()).Blob(TargetBytes(run)).Run();
  if (!status.ok()) return status;
  return ReadRun(database, run.name());
}

absl::StatusOr<v1::Run> CloseRun(Database& database, absl::string_view name, std::int64_t now_ns) {
  const auto run = ReadRun(database, name);
  if (!run.ok()) return run;
  if (run->end_realtime_ns() != 0) {
    return absl::FailedPreconditionError(absl::StrCat("run ", name, " is closed already"));
  }
  Query query(database, "UPDATE runs SET end_ns = ? WHERE name = ?");
  const auto status = query.Int(now_ns).Text(name).Run();
  if (!status.ok()) return status;
  return ReadRun(database, name);
}

absl::StatusOr<v1::Run> UpdateTargets(Database& database, const v1::Run& run) {
  Query query(database, "UPDATE runs SET targets = ? WHERE name = ?");
  const auto status = query.Blob(TargetBytes(run)).Text(run.name()).Run();
  if (!status.ok()) return status;
  return ReadRun(database, run.name());
}

}  // namespace faultline
