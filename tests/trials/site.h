// SPDX-License-Identifier: Apache-2.0
//
// Where faults are tried out and measured: a target group, a network and a bpffs of its own, and
// the real injector in them. What kernel tests and benches have in common; knows nothing of either.
// Everything that it made goes with it. Owned by the thread that made it, which it moves into the
// network.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/kernel/fault_bpffs.h"
#include "tests/kernel/injector_process.h"
#include "tests/kernel/test_cgroup.h"
#include "tests/kernel/test_netns.h"
#include "tests/kernel/udp_path.h"
#include "tests/witness/packets.h"

namespace faultline {

class TrialSite {
 public:
  // `options`: of the injector, beside those for the site's own places. Unimplemented: this kernel
  // has no network of one's own.
  static absl::StatusOr<std::unique_ptr<TrialSite>> Create(
      const std::vector<std::string>& options = {});
  ~TrialSite();
  TrialSite(const TrialSite&) = delete;
  TrialSite& operator=(const TrialSite&) = delete;

  InjectorProcess& injector() { return injector_; }
  TestCgroup& group() { return *group_; }
  TestNetwork& network() { return *network_; }
  // Of all faults here: a word in the arguments of their helpers.
  std::string HelperWord() const;

  // The types of faults that do something and stay no longer than asked for: no sham, no holds.
  absl::StatusOr<std::vector<std::string>> KnownTypes();
  // Unimplemented, with the injector's reason: this host lacks fault `type`.
  absl::Status Check(const std::string& type);
  // A fault of `type` on the group, with an id that no other has.
  v1::FaultSpec Spec(const std::string& type, double seconds);
  // Starts a fault. Internal: it was refused.
  absl::StatusOr<v1::FaultState> Inject(const v1::FaultSpec& spec);
  // Starts a fault and waits for its end. Internal: it was refused, or did not end well.
  absl::StatusOr<v1::FaultState> Run(const v1::FaultSpec& spec);
  // Waits for the end of a fault that was started.
  absl::StatusOr<v1::FaultState> End(const v1::FaultState& started);

  // A path whose end here is of `group`, null: nobody's. Closed with the site.
  absl::StatusOr<witness::Packets::Path> MakePath(TestCgroup* group, bool out,
                                                  const UdpEnds& ends = {});
  // A process in the group that sleeps.
  absl::Status AddSleeper();
  // The file in which the kernel counts the group's memory, bytes.
  std::string MemoryCount() const;
  // The file that holds the group's CPU quota.
  std::string QuotaFile() const;
  // The file in which it counts the group's CPU time, in units of `unit_ns`.
  struct CpuCount {
    std::string file;
    std::int64_t unit_ns = 1;
  };
  CpuCount CpuTime() const;
  // What faults may change, of the group and of the network: equal before and after.
  std::string Digest() const;

 private:
  TrialSite() = default;
  // Each fault that the injector knows, on this host or another.
  absl::StatusOr<std::vector<v1::FaultInfo>> Known();

  // First, as it moves the thread: what comes later is in its namespaces.
  std::unique_ptr<TestBpffs> bpffs_;
  std::unique_ptr<TestNetwork> network_;
  std::unique_ptr<TestCgroup> group_;
  InjectorProcess injector_;
  std::vector<int> descriptors_;
  int faults_ = 0;
};

// The dose `name` of a fault; -1: there is none.
std::int64_t DoseOf(const v1::FaultState& state, const std::string& name);

}  // namespace faultline
