// SPDX-License-Identifier: Apache-2.0
//
// Reads every FileField: host-wide text files below /proc and /sys. Each file is gone through once
// per tick for all its rows. Owned by the sampler; one thread.
#pragma once

#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "agent/metrics/source.h"
#include "agent/metrics/text_files.h"

namespace faultline {

class FileSource final : public Source {
 public:
  // `files` must outlive this; the sampler begins its ticks.
  explicit FileSource(TextFiles* files) : files_(files) {}

  // Unimplemented: there is no such file, line or column.
  absl::Status Add(size_t index, const Field& field) override;
  void Read(const Entities& entities, std::vector<Column>* columns) override;

 private:
  // A metric whose value is the sum of terms; complete when every term was found.
  struct Sum {
    size_t metric = 0;
    FileField field{};
    size_t terms = 0;
    size_t found = 0;
    std::uint64_t value = 0;
  };
  struct Term {
    size_t sum = 0;
    bool negative = false;
  };
  // Metrics of the lines whose key is `prefix` and an entity's name.
  struct Pattern {
    std::string prefix;
    Table table{};
    std::vector<std::pair<size_t, FileField>> metrics;
  };
  struct File {
    const char* path = nullptr;
    std::vector<Sum> sums;
    // By key of the line.
    absl::flat_hash_map<std::string, std::vector<Term>> terms;
    std::vector<Pattern> patterns;
  };

  File* FileOf(const char* path);
  static void ReadFile(const Entities& entities, absl::string_view text, File* file,
                       std::vector<Column>* columns);

  TextFiles* const files_;
  std::vector<File> list_;
};

}  // namespace faultline
