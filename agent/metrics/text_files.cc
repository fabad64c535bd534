// SPDX-License-Identifier: Apache-2.0
#include "agent/metrics/text_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/status.h"

namespace faultline {
namespace {

// First size of a buffer; most files of /proc fit.
constexpr size_t kChunk = 4096;

constexpr bool IsBlank(char c) { return c == ' ' || c == '\t'; }

// A word that also ends at `separator`. By hand, since this runs for every line of every control
// group at each tick.
absl::string_view TakeUntil(char separator, absl::string_view* line) {
  const char* begin = line->data();
  const char* const end = begin + line->size();
  while (begin != end && IsBlank(*begin)) ++begin;
  const char* stop = begin;
  while (stop != end && !IsBlank(*stop) && *stop != separator) ++stop;
  *line = {stop, static_cast<size_t>(end - stop)};
  return {begin, static_cast<size_t>(stop - begin)};
}

}  // namespace

absl::string_view TakeLine(absl::string_view* text) {
  const size_t end = std::min(text->find('\n'), text->size());
  const absl::string_view line = text->substr(0, end);
  text->remove_prefix(std::min(end + 1, text->size()));
  return line;
}

absl::string_view TakeWord(absl::string_view* line) { return TakeUntil(' ', line); }

absl::string_view TakeKey(absl::string_view* line) {
  const absl::string_view key = TakeUntil(':', line);
  if (absl::StartsWith(*line, ":")) line->remove_prefix(1);
  return key;
}

std::optional<std::uint64_t> ToNumber(absl::string_view word) {
  std::uint64_t value = 0;
  const char* const end = word.data() + word.size();
  const auto [rest, error] = std::from_chars(word.data(), end, value);
  if (error != std::errc() || rest != end || word.empty()) return std::nullopt;
  return value;
}

absl::Status ReadFrom(int fd, std::string* text) {
  size_t size = 0;
  if (text->size() < kChunk) text->resize(kChunk);
  while (true) {
    const ssize_t got =
        ::pread(fd, text->data() + size, text->size() - size, static_cast<off_t>(size));
    if (got < 0) {
      if (errno == EINTR) continue;
      const int error = errno;
      text->clear();
      return ErrnoStatus(error, "read");
    }
    if (got == 0) break;
    size += static_cast<size_t>(got);
    // seq_file hands out whole records as long as they fit: a full buffer may not be the end.
    if (size == text->size()) text->resize(2 * size);
  }
  text->resize(size);
  return absl::OkStatus();
}

OpenFile& OpenFile::operator=(OpenFile&& other) noexcept {
  if (this != &other) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = other.Release();
  }
  return *this;
}

OpenFile::~OpenFile() {
  if (fd_ >= 0) ::close(fd_);
}

int OpenFile::Release() { return std::exchange(fd_, -1); }

std::string TextFiles::Locate(absl::string_view path) const {
  if (absl::StartsWith(path, "/proc/")) return absl::StrCat(proc_, path.substr(5));
  if (absl::StartsWith(path, "/sys/")) return absl::StrCat(sys_, path.substr(4));
  return std::string(path);
}

absl::StatusOr<absl::string_view> TextFiles::Read(absl::string_view path) {
  File& file = files_[path];
  if (file.tick == tick_) {
    if (!file.status.ok()) return file.status;
    return absl::string_view(file.text);
  }
  file.tick = tick_;
  if (!file.fd) file.fd = OpenFile(::open(Locate(path).c_str(), O_RDONLY | O_CLOEXEC));
  if (!file.fd) {
    file.status = ErrnoStatus(errno, absl::StrCat("open ", path));
    return file.status;
  }
  file.status = WithContext(ReadFrom(file.fd.get(), &file.text), path);
  if (!file.status.ok()) return file.status;
  return absl::string_view(file.text);
}

}  // namespace faultline
