// SPDX-License-Identifier: Apache-2.0
#include "collector/dataset/file_sink.h"

#include <algorithm>
#include <array>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace faultline {
namespace {

constexpr std::size_t kChunkBytes = 256U << 10;

}  // namespace

absl::Status FileSink::Begin(const std::string& path) {
  path_ = path;
  buffer_.clear();
  digest_.reset(EVP_MD_CTX_new());
  if (digest_ == nullptr || EVP_DigestInit_ex(digest_.get(), EVP_sha256(), nullptr) != 1) {
    return absl::InternalError("SHA-256 is not available");
  }
  return absl::OkStatus();
}

absl::Status FileSink::Write(absl::string_view data) {
  EVP_DigestUpdate(digest_.get(), data.data(), data.size());
  while (!data.empty()) {
    const std::size_t part = std::min(data.size(), kChunkBytes - buffer_.size());
    buffer_.append(data.data(), part);
    data.remove_prefix(part);
    if (buffer_.size() < kChunkBytes) break;
    auto status = Flush();
    if (!status.ok()) return status;
  }
  return absl::OkStatus();
}

absl::Status FileSink::Flush() {
  v1::ExportChunk chunk;
  chunk.set_path(path_);
  chunk.set_data(buffer_);
  chunk.set_progress(progress_);
  buffer_.clear();
  return output_(std::move(chunk));
}

absl::Status FileSink::End() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  EVP_DigestFinal_ex(digest_.get(), digest.data(), &size);
  const std::string hex =
      absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(digest.data()), size));
  absl::StrAppend(&checksums_, hex, "  ", path_, "\n");
  // Also for a file without content: a reader learns of a file from its chunks.
  return Flush();
}

absl::Status FileSink::WriteFile(const std::string& path, absl::string_view data) {
  auto status = Begin(path);
  if (status.ok()) status = Write(data);
  if (status.ok()) status = End();
  return status;
}

absl::Status FileSink::Finish(const v1::ExportSummary& summary) {
  v1::ExportChunk chunk;
  chunk.set_progress(1);
  *chunk.mutable_summary() = summary;
  return output_(std::move(chunk));
}

}  // namespace faultline
