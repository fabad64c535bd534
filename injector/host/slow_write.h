// SPDX-License-Identifier: Apache-2.0
//
// A write to a control group's file during which the kernel frees memory, for seconds maybe: the
// deadlines of others must not wait for it, so a thread of its own makes it. Owned and called by
// one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace faultline {

class SlowWrite {
 public:
  // Makes the kernel leave it, and waits for that, 2 s at most, if it is still under way.
  virtual ~SlowWrite() = default;

  // What became of it; none: it is still under way.
  virtual std::optional<absl::Status> Result() = 0;
  // Makes the kernel leave it soon; Result tells when it has, not whether the value is in force.
  // To be called again until then.
  virtual void Interrupt() = 0;
};

// What a lever does by such writes, one after the other. One thread.
class SlowWrites {
 public:
  // A write of `value` to the lever's file.
  using Begin = std::function<absl::StatusOr<std::unique_ptr<SlowWrite>>(const std::string& value)>;
  // Whether all that is there is ours, or was there before; Aborted: it is not.
  using Check = std::function<absl::Status()>;
  // `name` of the file and its group, for messages.
  SlowWrites(std::string name, Begin begin, Check check)
      : name_(std::move(name)), begin_(std::move(begin)), check_(std::move(check)) {}

  // Brings `value` into force. Unavailable with wait_ns() > 0: the kernel is still at it, or at the
  // value before it, which is left; call it again. Aborted: `check` says so; it is left.
  absl::Status Set(const std::string& value);
  // What is under way no longer changes anything. Unavailable with wait_ns() > 0: it still may.
  absl::Status Leave();
  // As Lever::wait_ns, of the last call.
  std::int64_t wait_ns() const { return wait_ns_; }

 private:
  absl::Status UnderWay();

  const std::string name_;
  const Begin begin_;
  const Check check_;
  // Under way, and the value that it writes.
  std::unique_ptr<SlowWrite> now_;
  std::string value_;
  std::int64_t wait_ns_ = 0;
};

// Writes `text` to `path`. Returns when that is done, or after a few ms. ResourceExhausted: there
// is no thread for it, and nothing was written.
absl::StatusOr<std::unique_ptr<SlowWrite>> BeginSlowWrite(const std::string& path,
                                                          const std::string& text);

// Whether a write of `file` frees what is above it first: memory.limit_in_bytes, memory.max,
// memory.high.
bool FreesMemory(const std::string& file);

}  // namespace faultline
