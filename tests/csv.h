// SPDX-License-Identifier: Apache-2.0
//
// A table of the dataset as text, read by code that shares nothing with its writer. RFC 4180.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace faultline {

using CsvRow = std::map<std::string, std::string>;

// Rows of a file with a header line; empty if there is no file.
std::vector<CsvRow> ReadCsv(const std::string& path);

// The value of a column, which must exist.
const std::string& At(const CsvRow& row, const std::string& column);

}  // namespace faultline
