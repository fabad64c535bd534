// SPDX-License-Identifier: Apache-2.0
//
// systemd's journal, spoken to by its native protocol (systemd.io/JOURNAL_NATIVE_PROTOCOL): one
// datagram per entry, fields in it. Without libsystemd, for the reason that base/supervisor.h
// gives. An entry is sent or not, it never blocks. Any thread.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace faultline {

inline constexpr char kJournaldSocket[] = "/run/systemd/journal/socket";

// NAME of capital letters, digits and '_', at most 64; value of any bytes.
struct LogField {
  absl::string_view name;
  absl::string_view value;
};

// Whether descriptor `fd` is the stream to the journal that systemd's JOURNAL_STREAM names
// ("DEVICE:INODE"; null: none): a service may have been told to write elsewhere.
bool IsJournalStream(const char* journal_stream, int fd);

// The entry as the protocol has it; fields with a name that it does not take are left out.
std::string JournalEntry(absl::Span<const LogField> fields);

class Journald {
 public:
  // `path`: of journald's socket. It need not be there yet, and may come and go.
  explicit Journald(std::string path);
  ~Journald();
  Journald(const Journald&) = delete;
  Journald& operator=(const Journald&) = delete;

  // False: the journal does not take it now.
  bool Send(absl::Span<const LogField> fields) const;

 private:
  const std::string path_;
  int socket_;
};

}  // namespace faultline
