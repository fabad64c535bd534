// SPDX-License-Identifier: Apache-2.0
#include "cli/demo/check.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "cli/demo/csv.h"

namespace faultline::cli {
namespace {

// Timestamps are written in microseconds and edges in nanoseconds, and the wall clock may be slewed
// by NTP between an edge and the end of its window (500 ppm at most): a window's end this close to
// an edge may count to either side.
constexpr std::int64_t kEdgeTolerance_ns = 2'000'000;

absl::StatusOr<std::int64_t> Number(const std::string& text, const std::string& column) {
  if (text.empty()) return 0;
  std::int64_t number = 0;
  if (absl::SimpleAtoi(text, &number)) return number;
  return absl::DataLossError(absl::StrCat("column ", column, " holds \"", text, "\""));
}

// Fields of one row by column name; the first that is not there is remembered.
class Row {
 public:
  Row(const CsvFile& file, const std::vector<std::string>& fields) : file_(file), fields_(fields) {}

  std::string Text(const std::string& column) {
    const absl::StatusOr<size_t> index = file_.Column(column);
    status_.Update(index.status());
    return index.ok() ? fields_[*index] : "";
  }

  Instants Edge(const std::string& name) {
    Instants edge;
    const std::string utc = Text(name);
    if (!utc.empty()) {
      const absl::StatusOr<std::int64_t> time = ParseTimestamp(utc);
      status_.Update(time.status());
      edge.realtime_ns = time.value_or(0);
    }
    const std::string column = name + "_boottime_ns";
    const absl::StatusOr<std::int64_t> boottime = Number(Text(column), column);
    status_.Update(boottime.status());
    edge.boottime_ns = boottime.value_or(0);
    const absl::StatusOr<std::int64_t> error = Number(Text(name + "_error_ns"), name + "_error_ns");
    status_.Update(error.status());
    edge.error_ns = error.value_or(0);
    return edge;
  }

  const absl::Status& status() const { return status_; }

 private:
  const CsvFile& file_;
  const std::vector<std::string>& fields_;
  absl::Status status_;
};

// One window of one node in one file.
struct Window {
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
};

// What the rule says about a window; both may be true of one that touches an edge.
struct Expected {
  bool may_be_0 = false;
  bool may_be_1 = false;
};

Expected ExpectLabel(const std::vector<FaultRow>& faults, const std::string& node,
                     const Window& window) {
  bool surely = false;
  bool perhaps = false;
  for (const FaultRow& fault : faults) {
    if (!fault.labels() || fault.node != node || fault.first_touch.realtime_ns == 0) continue;
    const std::int64_t after = window.begin_ns - fault.first_touch.realtime_ns;
    // Until here it stood for sure.
    const std::int64_t end =
        std::max({fault.undone.realtime_ns - fault.undone.error_ns, fault.acked.realtime_ns,
                  fault.first_touch.realtime_ns, fault.last_touch.realtime_ns});
    const std::int64_t before = std::min(end, fault.undone.realtime_ns) - window.end_ns;
    surely = surely || (after >= kEdgeTolerance_ns && before >= kEdgeTolerance_ns);
    perhaps = perhaps || (after >= -kEdgeTolerance_ns && before >= -kEdgeTolerance_ns);
  }
  return {!surely, perhaps};
}

bool ExpectActive(const std::vector<FaultRow>& faults, const std::string& node,
                  const Window& window, std::int64_t slack_ns) {
  return std::any_of(faults.begin(), faults.end(), [&](const FaultRow& fault) {
    return fault.node == node && fault.acked.realtime_ns != 0 &&
           fault.acked.realtime_ns + slack_ns <= window.end_ns &&
           window.begin_ns <= fault.undone.realtime_ns - slack_ns;
  });
}

// Labels of one file, row by row.
class LabelCheck {
 public:
  LabelCheck(const CsvFile& file, const std::vector<FaultRow>& faults)
      : file_(file), faults_(faults) {}

  absl::Status Run() {
    absl::Status status;
    for (const auto& [name, index] :
         {std::make_pair("timestamp", &timestamp_), std::make_pair("node", &node_),
          std::make_pair("entity", &entity_), std::make_pair("fault_active", &active_),
          std::make_pair("label", &label_), std::make_pair("label_state", &state_),
          std::make_pair("label_target", &target_)}) {
      const absl::StatusOr<size_t> column = file_.Column(name);
      if (!column.ok()) return column.status();
      *index = *column;
    }
    status = FindWindows();
    for (size_t i = 0; status.ok() && i < file_.rows().size(); ++i) status = CheckRow(i);
    return status;
  }

  int labelled() const { return labelled_; }

 private:
  // A window begins where the one before ended; the first is as long as the second.
  absl::Status FindWindows() {
    std::map<std::string, std::vector<std::int64_t>> ends;
    times_.reserve(file_.rows().size());
    for (const std::vector<std::string>& row : file_.rows()) {
      const absl::StatusOr<std::int64_t> time = ParseTimestamp(row[timestamp_]);
      if (!time.ok()) return time.status();
      times_.push_back(*time);
      ends[row[node_]].push_back(*time);
    }
    for (auto& [node, list] : ends) {
      std::sort(list.begin(), list.end());
      list.erase(std::unique(list.begin(), list.end()), list.end());
      for (size_t i = 0; i < list.size(); ++i) {
        const std::int64_t first = list.size() > 1 ? 2 * list[0] - list[1] : list[0];
        begins_[node][list[i]] = i == 0 ? first : list[i - 1];
      }
    }
    return absl::OkStatus();
  }

  absl::Status Wrong(size_t index, absl::string_view column, absl::string_view should) const {
    const std::vector<std::string>& row = file_.rows()[index];
    return absl::DataLossError(absl::StrCat(file_.name(), " row ", index + 1, " (", row[timestamp_],
                                            ", ", row[entity_], "): ", column, " should be ",
                                            should));
  }

  absl::Status CheckRow(size_t index) {
    const std::vector<std::string>& row = file_.rows()[index];
    const Window window{begins_[row[node_]][times_[index]], times_[index]};
    const Expected expected = ExpectLabel(faults_, row[node_], window);
    const bool labelled = row[label_] == "1";
    if (!labelled && row[label_] != "0") return Wrong(index, "label", "0 or 1");
    if (labelled && !expected.may_be_1) return Wrong(index, "label", "0");
    if (!labelled && !expected.may_be_0) return Wrong(index, "label", "1");
    const bool active = row[active_] == "1";
    if (active && !ExpectActive(faults_, row[node_], window, -kEdgeTolerance_ns)) {
      return Wrong(index, "fault_active", "0");
    }
    if (!active && ExpectActive(faults_, row[node_], window, kEdgeTolerance_ns)) {
      return Wrong(index, "fault_active", "1");
    }
    if (labelled && row[state_] != "fault") return Wrong(index, "label_state", "fault");
    const bool target = labelled && IsTarget(row[entity_]);
    if (target != (row[target_] == "1")) {
      return Wrong(index, "label_target", target ? "1" : "0");
    }
    if (labelled) ++labelled_;
    return absl::OkStatus();
  }

  // Every fault of the demo has the same target, so it is enough to look at the names.
  bool IsTarget(const std::string& entity) const {
    return std::any_of(faults_.begin(), faults_.end(), [&](const FaultRow& fault) {
      return !fault.cgroup.empty() &&
             (entity == fault.cgroup || absl::StartsWith(entity, fault.cgroup + "/"));
    });
  }

  const CsvFile& file_;
  const std::vector<FaultRow>& faults_;
  size_t timestamp_ = 0;
  size_t node_ = 0;
  size_t entity_ = 0;
  size_t active_ = 0;
  size_t label_ = 0;
  size_t state_ = 0;
  size_t target_ = 0;
  std::vector<std::int64_t> times_;
  std::map<std::string, std::map<std::int64_t, std::int64_t>> begins_;
  int labelled_ = 0;
};

// [{"name": "throttled_ns", "unit": "ns", "value": 123, "gauge": false}, ...]
absl::StatusOr<std::map<std::string, std::int64_t>> ParseDose(const std::string& text) {
  std::map<std::string, std::int64_t> dose;
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_array()) return absl::DataLossError("dose \"" + text + "\" is no JSON array");
  for (const nlohmann::json& amount : json) {
    const bool whole = amount.is_object() && amount.contains("name") && amount.contains("value") &&
                       amount["name"].is_string() && amount["value"].is_number_integer();
    if (!whole) return absl::DataLossError("dose \"" + text + "\" lacks a name or a value");
    dose[amount["name"].get<std::string>()] = amount["value"].get<std::int64_t>();
  }
  return dose;
}

}  // namespace

absl::StatusOr<std::vector<FaultRow>> ReadFaults(const std::string& dir) {
  const absl::StatusOr<CsvFile> file = CsvFile::Read(dir + "/faults.csv");
  if (!file.ok()) return file.status();
  std::vector<FaultRow> faults;
  for (const std::vector<std::string>& fields : file->rows()) {
    Row row(*file, fields);
    FaultRow fault;
    fault.id = row.Text("fault_id");
    fault.type = row.Text("type");
    fault.sham = row.Text("sham") == "1";
    fault.node = row.Text("node");
    fault.cgroup = row.Text("cgroup");
    fault.verdict = row.Text("verdict");
    fault.residue = row.Text("residue");
    fault.commanded = row.Edge("commanded");
    fault.acked = row.Edge("acked");
    fault.first_touch = row.Edge("first_touch");
    fault.last_touch = row.Edge("last_touch");
    fault.undone = row.Edge("undone");
    const absl::StatusOr<std::map<std::string, std::int64_t>> dose = ParseDose(row.Text("dose"));
    if (!row.status().ok()) return row.status();
    if (!dose.ok()) return dose.status();
    fault.dose = *dose;
    faults.push_back(std::move(fault));
  }
  return faults;
}

std::vector<Finding> CheckLabels(const std::string& dir, const std::vector<FaultRow>& faults) {
  std::vector<Finding> findings;
  const absl::StatusOr<int> files = VerifyChecksums(dir);
  findings.push_back({files.ok(), files.ok() ? absl::StrCat("checksums of ", *files, " files")
                                             : std::string(files.status().message())});
  size_t rows = 0;
  int labelled = 0;
  int tables = 0;
  absl::Status status;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(dir + "/data", error)) {
    const absl::StatusOr<CsvFile> file = CsvFile::Read(entry.path().string());
    status = file.status();
    if (!status.ok()) break;
    LabelCheck check(*file, faults);
    status = check.Run();
    if (!status.ok()) break;
    rows += file->rows().size();
    labelled += check.labelled();
    ++tables;
  }
  if (status.ok() && rows == 0) status = absl::DataLossError("the dataset has no rows");
  findings.push_back(
      {status.ok(), status.ok() ? absl::StrCat("labels of ", rows, " rows in ", tables,
                                               " tables recomputed from faults.csv: ", labelled,
                                               " rows are 1, the rest 0")
                                : std::string(status.message())});
  const bool any = std::any_of(faults.begin(), faults.end(),
                               [](const FaultRow& fault) { return fault.labels(); });
  if (status.ok() && any && labelled == 0) {
    findings.push_back({false, "there are effective faults and not one row is labelled"});
  }
  return findings;
}

}  // namespace faultline::cli
