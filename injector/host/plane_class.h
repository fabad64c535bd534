// SPDX-License-Identifier: Apache-2.0
//
// A class of the standing plane, and a queue below it, as a lever. Its counters are the dose.
// Change: kind "net_class", object the device, attribute the class. One thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "injector/faults/shape.h"
#include "injector/host/class_leaf.h"
#include "injector/host/kernel.h"
#include "injector/host/lever.h"
#include "injector/host/traffic.h"

namespace faultline {

class ClassLever : public Lever {
 public:
  // Chooses a free class; nothing is made yet. It may follow a ramp.
  static absl::StatusOr<std::unique_ptr<ClassLever>> Create(const NetKernel& kernel,
                                                            Traffic& traffic,
                                                            const NetDevice& device,
                                                            const ClassLeaf& leaf,
                                                            const Shape& shape);
  // For a change that Create once filled in.
  static absl::StatusOr<std::unique_ptr<ClassLever>> Recover(const NetKernel& kernel,
                                                             const v1::Change& change);

  std::uint32_t handle() const { return handle_; }

  const v1::Change& change() const override { return change_; }
  absl::Status Apply() override;
  // Of a delay no packet overtakes another; of a rate only levels above 0, those of a ramp.
  absl::Status SetLevel(double level) override;
  // A recovered one is in force while packets wait in it: the link that fed it went with its
  // process.
  absl::Status Verify() override;
  // What had come until the link was gone left within the longest wait.
  Ended OverBy(std::int64_t deadline_ns) override;
  // Raises the rate, or ends the delay: what comes now leaves behind what waits, at once or, of a
  // delay, within what is left of it.
  absl::StatusOr<std::int64_t> Quiesce() override;
  // The same, then deletes the class when its queue has drained, or has had 2 s for it.
  absl::Status Restore() override;
  std::int64_t wait_ns() const override { return wait_ns_; }
  absl::Status Residue() override;
  Evidence Measure() override;

 private:
  ClassLever(const NetKernel& kernel, std::string device, std::uint32_t handle,
             const ClassLeaf& leaf);
  // NotFound: device, plane or class is gone.
  absl::StatusOr<HtbClass> Read(Traffic& traffic, int* ifindex) const;
  // OK: it has the parameters that were last set.
  absl::Status CheckLeaf(Traffic& traffic, int ifindex, const HtbClass& found) const;
  // Of the class, at the level that was last set, bytes a second.
  std::uint64_t Rate() const { return leaf_.delays() ? kUnlimitedRate : leaf_.RateAt(level_); }
  absl::Status Open(Traffic& traffic, int ifindex);
  absl::Status Drain(Traffic& traffic, int ifindex);

  const NetKernel kernel_;
  const std::string device_;
  const std::uint32_t handle_;
  const ClassLeaf leaf_;
  v1::Change change_;
  bool recovered_ = false;
  // What was last set.
  double level_ = 1;
  // When Quiesce was first called, CLOCK_BOOTTIME ns; 0: not yet.
  std::int64_t quiesced_ns_ = 0;
  // When the last that the delay held back has left, or up to so many ns later; 0: it was not
  // ended.
  std::int64_t over_ns_ = 0;
  std::int64_t over_error_ns_ = 0;
  // When the queue was first left to drain; 0: not yet.
  std::int64_t drain_ns_ = 0;
  std::int64_t wait_ns_ = 0;
  HtbClass last_;
  bool seen_ = false;
};

}  // namespace faultline
