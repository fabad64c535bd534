// SPDX-License-Identifier: Apache-2.0
//
// Writes the files of an export that come over the network into a folder that appears whole or not
// at all: everything goes to a sibling folder that is renamed at the end. Trusts no path of the
// sender. One thread.
#pragma once

#include <memory>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "faultline/v1/datasets.pb.h"

namespace faultline::cli {

// InvalidArgument unless `path` is relative, at most four parts of letters, digits, '.', '_' and
// '-', none of them "." or "..".
absl::Status ValidateDatasetPath(absl::string_view path);

class DatasetWriter {
 public:
  // FailedPrecondition if `dir` is a file or a folder that is not empty.
  static absl::StatusOr<std::unique_ptr<DatasetWriter>> Create(const std::string& dir);
  // Removes what was written unless Finish succeeded.
  ~DatasetWriter();
  DatasetWriter(const DatasetWriter&) = delete;
  DatasetWriter& operator=(const DatasetWriter&) = delete;

  // The next piece. A file that is complete is never opened again.
  absl::Status Write(const v1::ExportChunk& chunk);
  // Closes, syncs and puts the folder in its place.
  absl::Status Finish();

 private:
  DatasetWriter(std::string dir, std::string partial)
      : dir_(std::move(dir)), partial_(std::move(partial)) {}
  absl::Status Open(const std::string& path);
  absl::Status Close();

  std::string dir_;
  std::string partial_;
  std::set<std::string> files_;
  std::string current_;
  int fd_ = -1;
  bool finished_ = false;
};

}  // namespace faultline::cli
