// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics/file_source.h"

#include <array>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace faultline {
namespace {

constexpr absl::string_view kEntityMark = "{entity}";
// More than any column that a row names.
constexpr size_t kMaxColumns = 24;

// The numbers of one line.
struct Numbers {
  std::array<std::optional<std::uint64_t>, kMaxColumns> values;

  explicit Numbers(absl::string_view line) {
    for (std::optional<std::uint64_t>& value : values) {
      const absl::string_view word = TakeWord(&line);
      if (word.empty()) break;
      value = ToNumber(word);
    }
  }
  std::optional<std::uint64_t> At(int column) const { return values[static_cast<size_t>(column)]; }
};

// Removes and returns the key of a line of `path`. The lines of diskstats begin with the device's
// numbers; the name is the third word.
absl::string_view KeyOf(absl::string_view path, absl::string_view* line) {
  if (path == "/proc/diskstats") {
    TakeWord(line);
    TakeWord(line);
  }
  return TakeKey(line);
}

// What the key "cpu{entity}" puts before the entity's name; nullopt: it names no entity.
std::optional<std::string> PatternPrefix(absl::string_view key) {
  if (!absl::EndsWith(key, kEntityMark)) return std::nullopt;
  return std::string(key.substr(0, key.size() - kEntityMark.size()));
}

// In unsigned arithmetic: sums that outgrow 64 bits wrap, and so do their differences.
std::int64_t Scale(std::uint64_t value, const FileField& field) {
  const std::uint64_t product = value * static_cast<std::uint64_t>(field.multiplier);
  return static_cast<std::int64_t>(product / static_cast<std::uint64_t>(field.divisor));
}

// Unimplemented unless some line of `text` matches `key` and has the field's column. A file without
// lines has no entities yet and is no reason to give up.
absl::Status CheckKey(absl::string_view text, const FileField& field, absl::string_view key) {
  const std::optional<std::string> prefix = PatternPrefix(key);
  const bool empty = text.empty();
  while (!text.empty()) {
    absl::string_view line = TakeLine(&text);
    const absl::string_view name = KeyOf(field.path, &line);
    const bool matches = prefix.has_value()
                             ? name.size() > prefix->size() && absl::StartsWith(name, *prefix)
                             : name == key;
    if (matches && Numbers(line).At(field.column).has_value()) return absl::OkStatus();
  }
  if (empty && prefix.has_value()) return absl::OkStatus();
  return absl::UnimplementedError(
      absl::StrCat(field.path, " of this kernel has no column ", field.column + 1, " of \"",
                   prefix.has_value() ? *prefix + "NAME" : std::string(key), "\""));
}

}  // namespace

absl::Status FileSource::Add(size_t index, const Field& field) {
  const auto* const wanted = std::get_if<FileField>(&field);
  if (wanted == nullptr) return absl::InvalidArgumentError("not a field of a file");
  absl::StatusOr<absl::string_view> text = files_->Read(wanted->path);
  if (absl::IsNotFound(text.status())) {
    return absl::UnimplementedError(absl::StrCat("this kernel has no ", wanted->path));
  }
  if (!text.ok()) return text.status();
  const std::vector<std::string> keys = absl::StrSplit(wanted->key, ' ');
  for (absl::string_view key : keys) {
    if (absl::Status s = CheckKey(*text, *wanted, absl::StripPrefix(key, "-")); !s.ok()) return s;
  }

  File* const file = FileOf(wanted->path);
  if (std::optional<std::string> prefix = PatternPrefix(wanted->key); prefix.has_value()) {
    const Table table = Metrics()[index].table;
    for (Pattern& pattern : file->patterns) {
      if (pattern.prefix != *prefix || pattern.table != table) continue;
      pattern.metrics.push_back({index, *wanted});
      return absl::OkStatus();
    }
    file->patterns.push_back({*std::move(prefix), table, {{index, *wanted}}});
    return absl::OkStatus();
  }
  for (absl::string_view key : keys) {
    const bool negative = absl::ConsumePrefix(&key, "-");
    file->terms[key].push_back({file->sums.size(), negative});
  }
  file->sums.push_back({index, *wanted, keys.size(), 0, 0});
  return absl::OkStatus();
}

FileSource::File* FileSource::FileOf(const char* path) {
  for (File& file : list_) {
    if (absl::string_view(file.path) == path) return &file;
  }
  list_.emplace_back();
  list_.back().path = path;
  return &list_.back();
}

void FileSource::Read(const Entities& entities, std::vector<Column>* columns) {
  for (File& file : list_) {
    const absl::StatusOr<absl::string_view> text = files_->Read(file.path);
    if (text.ok()) ReadFile(entities, *text, &file, columns);
  }
}

void FileSource::ReadFile(const Entities& entities, absl::string_view text, File* file,
                          std::vector<Column>* columns) {
  std::vector<absl::flat_hash_map<absl::string_view, size_t>> rows(file->patterns.size());
  for (size_t i = 0; i < rows.size(); ++i) {
    const std::vector<Entity>& table = entities[static_cast<size_t>(file->patterns[i].table)];
    for (size_t row = 0; row < table.size(); ++row) rows[i][table[row].name] = row;
  }
  for (Sum& sum : file->sums) {
    sum.found = 0;
    sum.value = 0;
  }
  while (!text.empty()) {
    absl::string_view line = TakeLine(&text);
    const absl::string_view key = KeyOf(file->path, &line);
    if (const auto terms = file->terms.find(key); terms != file->terms.end()) {
      const Numbers numbers(line);
      for (const Term& term : terms->second) {
        Sum& sum = file->sums[term.sum];
        const std::optional<std::uint64_t> value = numbers.At(sum.field.column);
        if (!value.has_value()) continue;
        sum.value += term.negative ? 0 - *value : *value;
        ++sum.found;
      }
    }
    for (size_t i = 0; i < rows.size(); ++i) {
      const Pattern& pattern = file->patterns[i];
      if (!absl::StartsWith(key, pattern.prefix)) continue;
      const auto row = rows[i].find(key.substr(pattern.prefix.size()));
      if (row == rows[i].end()) continue;
      const Numbers numbers(line);
      for (const auto& [metric, field] : pattern.metrics) {
        const std::optional<std::uint64_t> value = numbers.At(field.column);
        if (value.has_value()) (*columns)[metric].values[row->second] = Scale(*value, field);
      }
    }
  }
  for (const Sum& sum : file->sums) {
    std::vector<std::optional<std::int64_t>>& values = (*columns)[sum.metric].values;
    if (sum.found == sum.terms && !values.empty()) values[0] = Scale(sum.value, sum.field);
  }
}

}  // namespace faultline
