// SPDX-License-Identifier: Apache-2.0
//
// The control groups that sockets belong to: those of cgroup v2, whatever else is mounted. One
// thread at a time.
#pragma once

#include <sys/types.h>

#include <string>

#include "absl/status/statusor.h"

namespace faultline {

class SocketGroups {
 public:
  // An open descriptor of the v2 directory of `cgroup`, for the caller to close. InvalidArgument:
  // it is the root, or no path; NotFound: it exists in no hierarchy; FailedPrecondition: in v1
  // only; Unimplemented: no v2 hierarchy is mounted.
  absl::StatusOr<int> Open(const std::string& cgroup);

 private:
  // Where the v2 hierarchy was found the last time: to look for it reads all mounts of the machine,
  // and a start opens its group several times.
  std::string mount_;
  // Of its root: somebody may mount a part of the hierarchy over it.
  ino_t root_ = 0;
};

}  // namespace faultline
