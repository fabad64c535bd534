// SPDX-License-Identifier: Apache-2.0
//
// Reads the dataset back as any user of it would, from the files alone. Comma-separated values as
// RFC 4180 has them; an empty field is a missing value. Stateless.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace faultline::cli {

class CsvFile {
 public:
  // DataLoss: a row has another number of fields than the header, or a quote does not end.
  static absl::StatusOr<CsvFile> Read(const std::string& path);
  static absl::StatusOr<CsvFile> Parse(absl::string_view text, const std::string& name);

  // Index of column `name`; DataLoss if there is none.
  absl::StatusOr<size_t> Column(absl::string_view name) const;
  const std::vector<std::vector<std::string>>& rows() const { return rows_; }
  const std::string& name() const { return name_; }

 private:
  std::string name_;
  std::vector<std::string> header_;
  std::vector<std::vector<std::string>> rows_;
};

// RFC 3339 in UTC, ns since 1970.
absl::StatusOr<std::int64_t> ParseTimestamp(absl::string_view text);

// Compares every file of dataset `dir` with its line "SHA-256  path" in CHECKSUMS. DataLoss names
// what differs, lacks a line or lacks a file. Returns the number of files.
absl::StatusOr<int> VerifyChecksums(const std::string& dir);

}  // namespace faultline::cli
