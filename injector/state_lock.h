// SPDX-License-Identifier: Apache-2.0
//
// Who works with a state directory: one injector, or one that undoes, at a time. A flock on
// DIR/lock, which the kernel drops when the process ends, however it ends; the file's text says
// who holds it. Held as long as the object lives.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "injector/host/process.h"

namespace faultline {

class StateLock {
 public:
  enum class Role : std::uint8_t { kInjector, kUndo };

  // Makes the directory. Waits, at most 20 s, while another one undoes; FailedPrecondition: an
  // injector holds it, or still somebody after that time.
  static absl::StatusOr<StateLock> Take(const std::string& state_dir, Role role);
  // Unavailable: somebody holds it now.
  static absl::StatusOr<StateLock> TryTake(const std::string& state_dir, Role role);
  // The injector that holds it; 0: none does.
  static pid_t Injector(const std::string& state_dir);

 private:
  explicit StateLock(Descriptor file) : file_(std::move(file)) {}
  Descriptor file_;
};

}  // namespace faultline
