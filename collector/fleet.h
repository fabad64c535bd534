// SPDX-License-Identifier: Apache-2.0
//
// Which nodes are connected, and the way to reach them. A node has one stream; a newer one of the
// same agent replaces it, one of another agent of the same name is refused. Thread-safe.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "faultline/v1/telemetry.pb.h"

namespace faultline {

// One connected node.
class NodeLink {
 public:
  using Answer = std::function<void(absl::StatusOr<v1::CommandResult>)>;
  virtual ~NodeLink() = default;

  // Sends `command` (its id is set here) and calls `answer` once: with the result, or
  // DeadlineExceeded, or Unavailable when the node goes first. The result's own error code becomes
  // the status. `answer` must not block.
  virtual void Call(v1::Command command, std::chrono::system_clock::time_point deadline,
                    Answer answer) = 0;
  // Ends the stream; the node sees `status`.
  virtual void End(const absl::Status& status) = 0;
};

class Fleet {
 public:
  // Makes `link` the way to `node`, which `epoch` names a start of; an older one of the same start
  // is ended. AlreadyExists: another agent of that name is connected. One that vanished without a
  // word is taken for connected until the server's keep-alive notices, half a minute.
  absl::Status Connect(const std::string& node, const std::string& epoch,
                       const std::shared_ptr<NodeLink>& link) ABSL_LOCKS_EXCLUDED(mutex_);
  // What Connect would say; changes nothing.
  absl::Status MayConnect(const std::string& node, const std::string& epoch,
                          const NodeLink* link) const ABSL_LOCKS_EXCLUDED(mutex_);
  // Forgets `node` if `link` is still the way to it.
  void Disconnect(const std::string& node, const NodeLink* link) ABSL_LOCKS_EXCLUDED(mutex_);
  // Null: not connected.
  std::shared_ptr<NodeLink> Find(absl::string_view node) const ABSL_LOCKS_EXCLUDED(mutex_);
  // Names, sorted.
  std::vector<std::string> Connected() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Way {
    std::string epoch;
    std::shared_ptr<NodeLink> link;
  };

  absl::Status Check(const std::string& node, const std::string& epoch, const NodeLink* link) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable absl::Mutex mutex_;
  std::map<std::string, Way, std::less<>> ways_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace faultline
