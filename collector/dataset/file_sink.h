// SPDX-License-Identifier: Apache-2.0
//
// The way out of an export: files as a stream of chunks, with the checksum of each. Holds at most
// one chunk. One thread.
#pragma once

#include <openssl/evp.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "faultline/v1/datasets.pb.h"

namespace faultline {

class FileSink {
 public:
  // Takes a chunk, and blocks while the reader is slow. An error ends the export.
  using Output = std::function<absl::Status(v1::ExportChunk)>;

  explicit FileSink(Output output) : output_(std::move(output)) {}

  // The files come one after the other. `path` is relative to the dataset's folder.
  absl::Status Begin(const std::string& path);
  absl::Status Write(absl::string_view data);
  absl::Status End();

  // A whole small file.
  absl::Status WriteFile(const std::string& path, absl::string_view data);
  // The last message of the stream.
  absl::Status Finish(const v1::ExportSummary& summary);

  // 0 to 1, sent along with the next chunk.
  void SetProgress(double progress) { progress_ = progress; }
  // One line per file that ended, as sha256sum prints it.
  const std::string& checksums() const { return checksums_; }

 private:
  struct DigestFree {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  absl::Status Flush();

  Output output_;
  std::string path_;
  std::string buffer_;
  std::unique_ptr<EVP_MD_CTX, DigestFree> digest_;
  double progress_ = 0;
  std::string checksums_;
};

}  // namespace faultline
