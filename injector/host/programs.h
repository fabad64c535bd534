// SPDX-License-Identifier: Apache-2.0
//
// The BPF programs of the network faults, as the levers use them: loaded with a rule, attached to a
// hook, counted, and their counts kept where they outlive the process. kernel_programs.h has the
// real ones, the tests have their own. One thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "bpf/fault.h"
#include "injector/host/traffic.h"

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

// "cgroup_skb/ingress".
absl::string_view HookName(Hook::Kind kind);

struct ProgramSpec {
  // Of fault_loss.bpf.c or fault_steer.bpf.c: "loss_in", "loss_out", "loss_mark", "steer".
  std::string name;
  fault_rule rule{};
  fault_filters filters{};
  Hook hook;
  // Of loss_out, which sees the packets of everybody: whose are meant.
  std::string cgroup;
};

// What a program counted.
class Ledger {
 public:
  virtual ~Ledger() = default;
  // Sums over the CPUs. NotFound: it cannot be read.
  virtual absl::StatusOr<fault_dose> Read() const = 0;
};

// A program in the kernel, attached or not. Its link is never pinned and goes with this process,
// whatever kills it; with the object at the latest.
class Program : public Ledger {
 public:
  // Unique within a boot.
  virtual std::uint32_t id() const = 0;
  // To the very group or device that had the hook's name when it was loaded.
  virtual absl::Status Attach() = 0;
  // Has let go when it returns. OK if it is not attached.
  virtual void Detach() = 0;
  // Of "steer": goes on past the deadline of its rule until `until_ns`, CLOCK_BOOTTIME.
  virtual absl::Status GoOn(std::int64_t until_ns) = 0;
  // Makes its counts outlive this process, as `ledger`.
  virtual absl::Status Keep(const std::string& ledger) = 0;
};

class Programs {
 public:
  virtual ~Programs() = default;

  // OK if packets of `cgroup` can be told apart. InvalidArgument: it is the root, whose sockets are
  // the whole machine's; NotFound: it exists in no hierarchy; FailedPrecondition: only in v1.
  virtual absl::Status CheckGroup(const std::string& cgroup) = 0;
  // FailedPrecondition: every process of `cgroup` is in another network namespace.
  virtual absl::Status CheckNamespace(const std::string& cgroup) = 0;
  // OK if the kernel takes program `name`; tried.
  virtual absl::Status Check(const std::string& name) = 0;

  // Loads it; nothing is attached. NotFound: the hook's group or device does not exist.
  virtual absl::StatusOr<std::unique_ptr<Program>> Load(const ProgramSpec& spec) = 0;
  // Ids of the programs attached to `hook` itself. NotFound: its control group or device is gone.
  virtual absl::StatusOr<std::vector<std::uint32_t>> Attached(const Hook& hook) = 0;

  // Keeps a tcx link on `device` that does nothing, from now on or already. While any device is
  // held, a program takes effect within 0.1 ms of Attach's begin on every device; on a held one,
  // that serves one program at a time, Attach and Detach also return by then, and not after a grace
  // period. Unimplemented: this kernel has no tcx; NotFound: there is no such device.
  virtual absl::Status HoldTcx(const std::string& device) = 0;
  // Makes class `parent` of a plane lose what comes.
  virtual absl::Status AddSink(Traffic& traffic, int ifindex, std::uint32_t parent) = 0;

  // OK if counts can be kept. FailedPrecondition: why not, what that costs and what to do.
  virtual absl::Status CheckLedgers() = 0;
  // Where the ledger of program `id` stands; empty where none is kept.
  virtual std::string LedgerPath(std::uint32_t id) = 0;
  // Null: there is none.
  virtual std::unique_ptr<Ledger> OpenLedger(const std::string& ledger) = 0;
  // OK where there is none; InvalidArgument: `ledger` is not of program `id`.
  virtual absl::Status DropLedger(const std::string& ledger, std::uint32_t id) = 0;

  // Of this boot: ids of programs come again after it.
  virtual std::string BootId() = 0;
};

}  // namespace faultline
