// SPDX-License-Identifier: Apache-2.0
//
// A BPF program on a hook as a lever. Its link goes with this process, so the fault ends with it,
// whatever kills it. Only the map of its dose is kept, where that can be, so that a successor can
// read what it did. Change: kind "link", object the group or device. One thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "injector/host/device_watch.h"
#include "injector/host/kernel.h"
#include "injector/host/lever.h"
#include "injector/host/programs.h"

namespace faultline {

// How `what` of a hook begins whose program gives packets to a class of the plane; the device
// follows.
inline constexpr char kSteeringOn[] = "steering on ";

class LinkLever : public Lever {
 public:
  // What the hits of the program mean.
  enum class Dosage : std::uint8_t { kLoss, kSteering };

  // Loads the program of `spec`, which Quiesce has go on for `past_ns` from then on, whatever its
  // deadline; 0: it does not.
  static absl::StatusOr<std::unique_ptr<LinkLever>> Create(const NetKernel& kernel,
                                                           const ProgramSpec& spec, Dosage dosage,
                                                           std::int64_t past_ns = 0);
  // For a change that Create once filled in, after the process that did is gone.
  static absl::StatusOr<std::unique_ptr<LinkLever>> Recover(const NetKernel& kernel,
                                                            const v1::Change& change);

  const v1::Change& change() const override { return change_; }
  absl::Status Apply() override;
  // Of steering: the class has the levels, and the program goes on giving packets to it.
  absl::Status SetLevel(double level) override;
  // Aborted as well: the device of the hook was down since Apply.
  absl::Status Verify() override;
  absl::StatusOr<std::int64_t> Quiesce() override;
  // At the deadline the program itself stopped, whoever lived.
  Ended OverBy(std::int64_t deadline_ns) override { return {0, deadline_ns}; }
  absl::Status Restore() override;
  absl::Status Residue() override;
  Evidence Measure() override;

 private:
  LinkLever(const NetKernel& kernel, Hook hook, Dosage dosage, std::uint32_t program_id);
  // OK: it is attached. Aborted: it is not; NotFound: nor is there anything to be attached to.
  absl::Status Attached() const;

  const NetKernel kernel_;
  const Hook hook_;
  const Dosage dosage_;
  const std::uint32_t program_id_;
  DeviceWatch watch_;
  // False for one of an earlier boot: nothing of it can be left, and its id may be another's now.
  bool of_this_boot_ = true;
  v1::Change change_;
  // Null when recovered.
  std::unique_ptr<Program> program_;
  // 0 once it is told to go on.
  std::int64_t past_ns_ = 0;
  // Where the ledger is kept; empty where it is not.
  std::string ledger_;
  // Of a predecessor; null if there is none.
  std::unique_ptr<Ledger> kept_;
};

}  // namespace faultline
