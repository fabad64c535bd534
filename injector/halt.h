// SPDX-License-Identifier: Apache-2.0
//
// The safety lever: while it is engaged nothing is injected. A file in the state directory, so that
// it outlives the process and the boot, and so that root can see and remove it without us. One
// thread at a time.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace faultline {

class HaltLatch {
 public:
  // Reads `path`. What cannot be read counts as engaged.
  explicit HaltLatch(std::string path);

  // Engaged at once, in memory.
  void Engage(const std::string& reason);
  // Durable when it returns OK, which waits for the disk.
  absl::Status Keep() const;
  // Released when it returns OK.
  absl::Status Release();

  bool engaged() const { return engaged_; }
  const std::string& reason() const { return reason_; }

 private:
  const std::string path_;
  bool engaged_ = false;
  std::string reason_;
};

}  // namespace faultline
