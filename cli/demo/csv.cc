// SPDX-License-Identifier: Apache-2.0
#include "cli/demo/csv.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"

namespace faultline::cli {
namespace {

absl::StatusOr<std::string> ReadDatasetFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return absl::DataLossError(absl::StrCat(path, " is missing"));
  return std::string(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
}

// Takes one record off `text`, its line end included. False: a quote does not end.
bool TakeRecord(absl::string_view* text, std::vector<std::string>* fields) {
  fields->assign(1, "");
  bool quoted = false;
  size_t i = 0;
  for (; i < text->size(); ++i) {
    const char c = (*text)[i];
    if (quoted) {
      const bool doubled = c == '"' && i + 1 < text->size() && (*text)[i + 1] == '"';
      if (c != '"') {
        fields->back() += c;
      } else if (doubled) {
        fields->back() += '"';
        ++i;
      } else {
        quoted = false;
      }
    } else if (c == '"' && fields->back().empty()) {
      quoted = true;
    } else if (c == ',') {
      fields->emplace_back();
    } else if (c == '\n') {
      ++i;
      break;
    } else if (c != '\r') {
      fields->back() += c;
    }
  }
  text->remove_prefix(i);
  return !quoted;
}

std::string Sha256(const std::string& text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  // Fails only without memory or without the algorithm; the empty digest then equals nothing.
  if (EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha256(), nullptr) != 1) {
    return "";
  }
  return absl::BytesToHexString({reinterpret_cast<const char*>(digest.data()), size});
}

}  // namespace

absl::StatusOr<CsvFile> CsvFile::Read(const std::string& path) {
  const absl::StatusOr<std::string> text = ReadDatasetFile(path);
  if (!text.ok()) return text.status();
  return Parse(*text, path);
}

absl::StatusOr<CsvFile> CsvFile::Parse(absl::string_view text, const std::string& name) {
  CsvFile file;
  file.name_ = name;
  if (!TakeRecord(&text, &file.header_) || file.header_ == std::vector<std::string>{""}) {
    return absl::DataLossError(absl::StrCat(name, " has no header"));
  }
  std::vector<std::string> fields;
  while (!text.empty()) {
    if (!TakeRecord(&text, &fields) || fields.size() != file.header_.size()) {
      return absl::DataLossError(absl::StrCat(name, " row ", file.rows_.size() + 1, " has ",
                                              fields.size(), " fields instead of ",
                                              file.header_.size()));
    }
    file.rows_.push_back(fields);
  }
  return file;
}

absl::StatusOr<size_t> CsvFile::Column(absl::string_view name) const {
  const auto found = std::find(header_.begin(), header_.end(), name);
  if (found == header_.end()) {
    return absl::DataLossError(absl::StrCat(name_, " has no column ", name));
  }
  return static_cast<size_t>(found - header_.begin());
}

absl::StatusOr<std::int64_t> ParseTimestamp(absl::string_view text) {
  absl::Time time;
  std::string error;
  if (!absl::ParseTime(absl::RFC3339_full, text, &time, &error)) {
    return absl::DataLossError(absl::StrCat("\"", text, "\" is no timestamp: ", error));
  }
  return absl::ToUnixNanos(time);
}

absl::StatusOr<int> VerifyChecksums(const std::string& dir) {
  const absl::StatusOr<std::string> list = ReadDatasetFile(dir + "/CHECKSUMS");
  if (!list.ok()) return list.status();
  std::map<std::string, std::string> sums;
  for (absl::string_view line : absl::StrSplit(*list, '\n', absl::SkipEmpty())) {
    const std::pair<std::string, std::string> parts =
        absl::StrSplit(line, absl::MaxSplits("  ", 1));
    sums[parts.second] = parts.first;
  }
  int files = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(dir, error)) {
    const std::string path = std::filesystem::relative(entry.path(), dir, error).string();
    if (!entry.is_regular_file() || path == "CHECKSUMS") continue;
    const auto sum = sums.find(path);
    if (sum == sums.end()) return absl::DataLossError("CHECKSUMS has no line for " + path);
    const absl::StatusOr<std::string> text = ReadDatasetFile(entry.path().string());
    if (!text.ok()) return text.status();
    if (Sha256(*text) != sum->second) {
      return absl::DataLossError(path + " differs from its checksum");
    }
    sums.erase(sum);
    ++files;
  }
  if (!sums.empty()) {
    return absl::DataLossError(sums.begin()->first + " is in CHECKSUMS and not in the dataset");
  }
  return files;
}

}  // namespace faultline::cli
