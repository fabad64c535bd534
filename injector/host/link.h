// SPDX-License-Identifier: Apache-2.0
//
// A BPF program on a hook as a lever. The link is never pinned and its descriptor is close-on-exec,
// so the fault ends with this process, whatever kills it. Only the map of its dose is pinned, where
// there is a bpffs (ledger.h), so that a successor can read what it did. One thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/bpf_object.h"
#include "injector/host/device_watch.h"
#include "injector/host/host.h"

namespace faultline {

struct Hook {
  enum class Kind : std::uint8_t { kCgroupIngress, kCgroupEgress, kTcxEgress };
  Kind kind = Kind::kCgroupIngress;
  // Control group on cgroup hooks, device on tcx.
  std::string object;
  // Which packets: the part that two faults on one hook may differ in.
  std::string what;
  // The only device whose packets they are; while it is down there is nothing for the program to
  // do. Empty: any device's.
  std::string device;
};

class LinkLever : public Lever {
 public:
  // What the hits of the program mean.
  enum class Dosage : std::uint8_t { kLoss, kSteering };

  // `object` is loaded; `program` is one of its programs. Its ledger goes to `bpffs`.
  static absl::StatusOr<std::unique_ptr<LinkLever>> Create(const Hook& hook,
                                                           std::unique_ptr<BpfObject> object,
                                                           const std::string& program,
                                                           Dosage dosage, const std::string& bpffs);
  // For a change that Create once filled in, after the process that did is gone.
  static absl::StatusOr<std::unique_ptr<LinkLever>> Recover(const v1::Change& change);

  // Ids of the programs attached to `hook` itself. NotFound: its control group or device is gone.
  static absl::StatusOr<std::vector<std::uint32_t>> AttachedPrograms(const Hook& hook);

  ~LinkLever() override;
  LinkLever(const LinkLever&) = delete;
  LinkLever& operator=(const LinkLever&) = delete;

  const v1::Change& change() const override { return change_; }
  absl::Status Apply() override;
  // Aborted as well: the device of the hook was down since Apply.
  absl::Status Verify() override;
  // At the deadline the program itself stopped, whoever lived.
  Ended OverBy(std::int64_t deadline_ns) override { return {0, deadline_ns}; }
  absl::Status Restore() override;
  absl::Status Residue() override;
  Evidence Measure() override;

 private:
  struct Target;

  LinkLever(Hook hook, Dosage dosage, std::uint32_t program_id);
  // OK: it is attached. Aborted: it is not; NotFound: nor is there anything to be attached to.
  absl::Status Attached() const;

  const Hook hook_;
  const Dosage dosage_;
  const std::uint32_t program_id_;
  DeviceWatch watch_;
  // False for one of an earlier boot: nothing of it can be left, and its id may be another's now.
  bool of_this_boot_ = true;
  v1::Change change_;
  // Null when recovered, like object_. Opened before Apply, which then is one call; a group of the
  // same name that was made since is another one.
  std::unique_ptr<Target> target_;
  std::unique_ptr<BpfObject> object_;
  int program_fd_ = -1;
  int link_fd_ = -1;
  // Where the ledger is pinned; empty where there is no bpffs.
  std::string ledger_;
  // The ledger of a predecessor, or -1.
  int recovered_ledger_fd_ = -1;
};

// An open descriptor of the v2 directory of `cgroup`, for the caller to close. InvalidArgument: the
// root, whose sockets are the whole machine's; NotFound: it exists in no hierarchy;
// FailedPrecondition: only in v1, where sockets are not told apart.
absl::StatusOr<int> OpenCgroup(const std::string& cgroup);

// Keeps a tcx link on lo that does nothing, until the process ends: the first tcx link of a machine
// takes effect only after a grace period, every later one within 0.1 ms of the call.
// Unimplemented: this kernel has no tcx.
absl::Status HoldTcx();

}  // namespace faultline
