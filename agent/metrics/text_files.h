// SPDX-License-Identifier: Apache-2.0
//
// The kernel's text files: read whole through descriptors that stay open, at most once per tick
// however many rows and sources want them, and taken apart into lines, keys and numbers. Owned by
// the sampler, shared with its sources; one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/container/node_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace faultline {

// Removes the first line of `text` and returns it without its end.
absl::string_view TakeLine(absl::string_view* text);
// Removes the first word of `line` and the blanks around it.
absl::string_view TakeWord(absl::string_view* line);
// TakeWord that also ends at a ':', which it removes: "eth0:123" and "MemFree: 1" have keys.
absl::string_view TakeKey(absl::string_view* line);
// All of `word`; nullopt: not a number without sign, or beyond 64 bits.
std::optional<std::uint64_t> ToNumber(absl::string_view word);

// Reads the file behind `fd` from its start into `*text`.
absl::Status ReadFrom(int fd, std::string* text);

// A descriptor that is closed with its owner.
class OpenFile {
 public:
  OpenFile() = default;
  explicit OpenFile(int fd) : fd_(fd) {}
  OpenFile(OpenFile&& other) noexcept : fd_(other.Release()) {}
  OpenFile& operator=(OpenFile&& other) noexcept;
  ~OpenFile();

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }

 private:
  int Release();
  int fd_ = -1;
};

class TextFiles {
 public:
  // What stands for /proc and /sys.
  TextFiles(std::string proc, std::string sys) : proc_(std::move(proc)), sys_(std::move(sys)) {}

  // Forgets what was read, so that the next Read of each file is a new one.
  void BeginTick() { ++tick_; }

  // The text of `path`, e.g. "/proc/stat", as it is at the first Read of the tick; valid until the
  // next BeginTick.
  absl::StatusOr<absl::string_view> Read(absl::string_view path);

  // Where `path` really is.
  std::string Locate(absl::string_view path) const;

 private:
  struct File {
    OpenFile fd;
    std::int64_t tick = -1;
    absl::Status status;
    std::string text;
  };

  const std::string proc_;
  const std::string sys_;
  std::int64_t tick_ = 0;
  absl::node_hash_map<std::string, File> files_;
};

}  // namespace faultline
