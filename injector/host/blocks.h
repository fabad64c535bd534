// SPDX-License-Identifier: Apache-2.0
//
// Block devices as faults name them. Only read. Stateless, any thread.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace faultline {

struct BlockDevice {
  // "vda".
  std::string name;
  // "254:0", the key of control groups' files.
  std::string number;
  // A partition has no queue of its own, so nothing can be limited on it.
  bool partition = false;
  // Of a partition: its disk.
  std::string disk;
};

// The tests bring their own.
class Blocks {
 public:
  virtual ~Blocks() = default;

  // The device of that name ("vda", "/dev/vda") or number ("254:0"). NotFound: there is none;
  // InvalidArgument: that can be no name.
  virtual absl::StatusOr<BlockDevice> Named(const std::string& device) const = 0;
};

// Those of /sys.
class SysBlocks final : public Blocks {
 public:
  explicit SysBlocks(std::string sys = "/sys") : sys_(std::move(sys)) {}
  absl::StatusOr<BlockDevice> Named(const std::string& device) const override;

 private:
  const std::string sys_;
};

}  // namespace faultline
