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
  // Sends a lease (lease_keeper.h); one that cannot go out is lost.
  virtual void RenewLease() = 0;
  // Ends the stream; the node sees `status`.
  virtual void End(const absl::Status& status) = 0;
};

class Fleet {
 public:
  // Takes the name `node` for `link`, of the start of the agent that `epoch` names; an older link
  // of the same start is ended. Commands find it only after Open. AlreadyExists: another agent has
  // the name. One that vanished without a word keeps it until the server's keep-alive notices, half
  // a minute.
  absl::Status Claim(const std::string& node, const std::string& epoch,
                     const std::shared_ptr<NodeLink>& link) ABSL_LOCKS_EXCLUDED(mutex_);
  // Makes `link` reachable if it still has the name; true when it was not before.
  bool Open(const std::string& node, const NodeLink* link) ABSL_LOCKS_EXCLUDED(mutex_);
  // Gives the name back if `link` still has it.
  void Disconnect(const std::string& node, const NodeLink* link) ABSL_LOCKS_EXCLUDED(mutex_);
  // Null: not connected, or not yet open.
  std::shared_ptr<NodeLink> Find(absl::string_view node) const ABSL_LOCKS_EXCLUDED(mutex_);
  // To each open one.
  void RenewLeases() const ABSL_LOCKS_EXCLUDED(mutex_);
  // Names of the open ones, sorted.
  std::vector<std::string> Connected() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Way {
    std::string epoch;
    std::shared_ptr<NodeLink> link;
    bool open = false;
  };

  mutable absl::Mutex mutex_;
  std::map<std::string, Way, std::less<>> ways_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace faultline
