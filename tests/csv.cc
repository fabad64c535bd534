// SPDX-License-Identifier: Apache-2.0
#include "tests/csv.h"

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "tests/child.h"

namespace faultline {
namespace {

// Splits a whole file into records; quotes may hold commas, doubled quotes and line breaks.
std::vector<std::vector<std::string>> Records(const std::string& text) {
  std::vector<std::vector<std::string>> records(1);
  std::string field;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c != '"') {
        field += c;
      } else if (i + 1 < text.size() && text[i + 1] == '"') {
        field += text[++i];
      } else {
        quoted = false;
      }
    } else if (c == '"') {
      quoted = true;
    } else if (c == ',' || c == '\n') {
      records.back().push_back(std::move(field));
      field.clear();
      if (c == '\n') records.emplace_back();
    } else {
      field += c;
    }
  }
  records.pop_back();
  return records;
}

}  // namespace

std::vector<CsvRow> ReadCsv(const std::string& path) {
  std::vector<CsvRow> rows;
  const std::vector<std::vector<std::string>> records = Records(Slurp(path));
  for (size_t r = 1; r < records.size(); ++r) {
    if (records[r].size() != records[0].size()) {
      Bug(absl::StrCat(path, ": record ", r, " has ", records[r].size(), " fields, the header ",
                       records[0].size()));
    }
    CsvRow row;
    for (size_t f = 0; f < records[r].size(); ++f) row[records[0][f]] = records[r][f];
    rows.push_back(std::move(row));
  }
  return rows;
}

const std::string& At(const CsvRow& row, const std::string& column) {
  const auto it = row.find(column);
  if (it == row.end()) Bug(absl::StrCat("the table has no column ", column));
  return it->second;
}

}  // namespace faultline
