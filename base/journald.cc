// SPDX-License-Identifier: Apache-2.0
#include "base/journald.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace faultline {
namespace {

// Of journald (journal_field_valid); '_' in front is its own.
bool IsFieldName(absl::string_view name) {
  constexpr size_t kMost = 64;
  if (name.empty() || name.size() > kMost) return false;
  if (!absl::ascii_isupper(static_cast<unsigned char>(name[0]))) return false;
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (!absl::ascii_isupper(byte) && !absl::ascii_isdigit(byte) && c != '_') return false;
  }
  return true;
}

void AppendLittleEndian(std::uint64_t value, std::string* out) {
  for (int byte = 0; byte < 8; ++byte, value >>= 8U)
    out->push_back(static_cast<char>(value & 255U));
}

}  // namespace

bool IsJournalStream(const char* journal_stream, int fd) {
  if (journal_stream == nullptr) return false;
  const std::pair<std::string, std::string> parts =
      absl::StrSplit(journal_stream, absl::MaxSplits(':', 1));
  std::uint64_t device = 0;
  std::uint64_t inode = 0;
  struct stat info {};
  return absl::SimpleAtoi(parts.first, &device) && absl::SimpleAtoi(parts.second, &inode) &&
         ::fstat(fd, &info) == 0 && info.st_dev == device && info.st_ino == inode;
}

std::string JournalEntry(absl::Span<const LogField> fields) {
  std::string entry;
  for (const LogField& field : fields) {
    if (!IsFieldName(field.name)) continue;
    if (field.value.find('\n') == absl::string_view::npos) {
      absl::StrAppend(&entry, field.name, "=", field.value, "\n");
      continue;
    }
    absl::StrAppend(&entry, field.name, "\n");
    AppendLittleEndian(field.value.size(), &entry);
    absl::StrAppend(&entry, field.value, "\n");
  }
  return entry;
}

Journald::Journald(std::string path)
    : path_(std::move(path)),
      socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {}

Journald::~Journald() {
  if (socket_ >= 0) ::close(socket_);
}

bool Journald::Send(absl::Span<const LogField> fields) const {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_ < 0 || path_.size() >= sizeof(address.sun_path)) return false;
  path_.copy(address.sun_path, path_.size());
  const std::string entry = JournalEntry(fields);
  // Named each time: journald's socket is another one after its restart.
  const ssize_t sent = ::sendto(socket_, entry.data(), entry.size(), MSG_NOSIGNAL,
                                reinterpret_cast<const sockaddr*>(&address), sizeof(address));
  return sent == static_cast<ssize_t>(entry.size());
}

}  // namespace faultline
