// SPDX-License-Identifier: Apache-2.0
//
// A machine in memory behind Kernel: the real levers work on it. Control group values, freezers,
// helpers, BPF programs, a network device with its plane, and systemd can be looked at, changed
// behind the injector's back, and outlive the process that used them; any call can fail, before or
// after its effect, take time, or be lost. One thread at a time.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "injector/host/controllers.h"
#include "injector/host/kernel.h"
#include "tests/fake_clock.h"
#include "tests/injector/fake_counters.h"
#include "tests/injector/fake_processes.h"
#include "tests/injector/fake_units.h"

namespace faultline {

// Before and after the effect of every change ("change"; of what systemd is told "set"), and before
// every answer ("read"; of systemd's "get"); what it returns is the call's result. DataLoss before
// a change that can be lost: the call succeeds without effect; anywhere else it is success.
using FakeStep = std::function<absl::Status(const std::string& step)>;

// Which controllers the groups in a group have on, with the kernel's rules: a line "GROUP has on
// CONTROLLER" of the machine's values each.
class FakeSubtrees final : public Subtrees {
 public:
  FakeSubtrees(std::map<std::string, std::string>* values, FakeStep step)
      : values_(values), step_(std::move(step)) {}

  // Groups that are gone.
  std::set<std::string> removed;

  absl::StatusOr<bool> HasOn(const std::string& group, const std::string& controller) override;
  absl::Status Turn(const std::string& group, const std::string& controller, bool on) override;

 private:
  std::map<std::string, std::string>* values_;
  FakeStep step_;
};

// What waits for the kernel makes the time pass.
class PassingClock final : public Clock {
 public:
  explicit PassingClock(FakeClock* clock) : clock_(clock) {}
  Instant Now() override { return clock_->Now(); }
  bool WaitUntil(std::int64_t boottime_ns, const std::stop_token& stop) override {
    const std::int64_t wait_ns = boottime_ns - clock_->Now().boottime_ns;
    if (wait_ns > 0) clock_->Advance(wait_ns);
    return !stop.stop_requested();
  }

 private:
  FakeClock* const clock_;
};

class FakeKernel final : private Cgroups,
                         private Helpers,
                         private Programs,
                         private Network,
                         private Throttling,
                         private Blocks {
 public:
  explicit FakeKernel(FakeClock* clock);

  // Points into this object.
  Kernel Get();

  // Null: all succeed.
  FakeStep on_step;

  // Changes of which nothing came although they succeeded, systemd's with them.
  std::int64_t lost() const { return lost_ + units.lost; }

  // What the kernel would show: everything that a fault can change, one line each.
  std::string Digest() const;
  // A process that dies takes its links along; values, classes and, unless told otherwise, helpers
  // stay.
  void ProcessDied();
  void AddGroup(const std::string& path);
  void KillHelper(pid_t pid);
  // The group is removed and made again, with its values as they were.
  void Remake(const std::string& path) { ++ids[path]; }

  // "/web cpu:cpu.cfs_quota_us" to its value.
  std::map<std::string, std::string> values;
  // Running helpers: process to fault, and to the groups that it is in ("memory /web").
  std::map<pid_t, std::string> helpers;
  std::map<pid_t, std::set<std::string>> homes;
  bool helpers_outlive = true;
  // So often a helper is asked to end, or killed, before it does; and how often it was killed.
  int helper_looks = 0;
  int helper_kills = 0;
  // They are dying: there, but without the arguments by which they are found.
  bool helpers_die = false;
  // Of one that has told that it gives back what it holds.
  std::int64_t closing_ns = 0;
  // What helpers say of themselves on pages that outlive them.
  std::set<std::string> reports;
  // Attached programs: id to hook.
  std::map<std::uint32_t, std::string> links;
  // Of every program that was loaded: when it stops by itself, and until when it goes on if it was
  // told to, CLOCK_BOOTTIME ns.
  std::map<std::uint32_t, std::int64_t> deadlines_ns;
  std::map<std::uint32_t, std::int64_t> steered_until_ns;
  // Kept counts.
  std::set<std::string> ledgers;
  // Classes of the plane of eth0, and their leaves.
  std::map<std::uint32_t, HtbClass> classes;
  std::map<std::uint32_t, std::string> leaves;
  // Leaves that delay, and until when something waits in them that has come before.
  std::map<std::uint32_t, Netem> netems;
  // In a class of a rate: until when it drains.
  std::map<std::uint32_t, std::int64_t> waits_until_ns;
  // Something comes all the time to whatever is steered.
  bool busy = false;
  // That were in a class which was deleted.
  std::int64_t lost_packets = 0;
  bool has_netem = true;
  // Roots of the devices, by index: eth0 is 2.
  std::map<int, Qdisc> roots;
  // The kernel's own that come back when ours is deleted.
  std::map<int, Qdisc> default_roots;
  // Those below an mq, and the kind that the kernel gives by itself; "": it does not say.
  std::vector<Qdisc> queues;
  std::string default_kind;
  std::vector<NetDevice> devices;
  // What cpu.stat shows of every group.
  std::int64_t throttled_ns = 0;
  std::int64_t throttled_periods = 0;
  // What memory and block i/o files show of every group.
  FakeCounters counters;
  // How long the kernel frees memory before a lower limit is in force (v1), and how long it takes
  // to leave that when it is interrupted.
  std::int64_t reclaim_ns = 0;
  std::int64_t leave_ns = 0;
  // Nobody gets a thread for a slow write any more.
  bool no_threads = false;
  // Dose of every helper.
  std::int64_t held_bytes = 0;
  std::int64_t burnt_ns = 0;
  // When the last helper that was told to end had done so; 0: it was killed.
  std::int64_t closed_ns = 0;
  // What was started last, and programs that are not there.
  HelperOrder last_order;
  std::set<std::string> no_programs;
  // What every program counts, and when it did so first and last; outlives the process where there
  // is a ledger.
  std::int64_t dropped = 0;
  std::int64_t first_drop_ns = 0;
  std::int64_t last_drop_ns = 0;
  bool has_bpffs = true;
  // Groups whose run queues are watched now, and what every watch sees. "throttle" among
  // no_programs: the kernel does not take the programs.
  std::multiset<std::string> watched;
  fault_throttle throttle{};
  bool attaches_watch = true;
  // Groups without a process.
  std::set<std::string> empty;
  // Groups that are gone.
  std::set<std::string> removed;
  // Of groups that were made again.
  std::map<std::string, std::uint64_t> ids;
  // Who owns the cpu and the memory controller; "v2" on a machine with systemd.
  std::string cpu_version = "v1";
  // Its units, whose groups' values they keep.
  FakeUnits units;
  FakeSubtrees subtrees;
  FakeProcesses processes;

 private:
  class FakeHelper;
  class FakeFound;
  bool Lingers(bool kill);
  class FakePage;
  class FakeWatch;
  class FakeProgram;
  class FakeLedger;
  class FakeTraffic;
  class FakeSlowWrite;

  absl::Status Step(const char* step) const;
  mutable std::int64_t lost_ = 0;
  // A change: `effect` happens unless the call fails before, or is lost.
  absl::Status Change(const std::function<void()>& effect) const;
  // One that the kernel carries out or refuses: files of our own, processes.
  absl::Status SureChange(const std::function<void()>& effect) const;
  absl::Status CheckProgram(const std::string& program) const;
  fault_dose Dose() const;
  // With what waits below it now.
  HtbClass ClassNow(std::uint32_t handle) const;
  void SetNetem(std::uint32_t handle, const Netem& netem);
  HelperReport Report() const;

  // Cgroups
  absl::StatusOr<bool> IsV2(const std::string& controller) const override;
  absl::Status Check(const std::string& cgroup, const std::string& controller) const override;
  absl::Status Exists(const std::string& cgroup) const override;
  absl::StatusOr<std::vector<std::uint64_t>> Ids(const std::string& cgroup) const override;
  absl::StatusOr<std::string> Read(const std::string& cgroup, const std::string& controller,
                                   const std::string& file) const override;
  absl::Status Write(const std::string& cgroup, const std::string& controller,
                     const std::string& file, const std::string& value) override;
  absl::StatusOr<std::unique_ptr<SlowWrite>> BeginWrite(const std::string& cgroup,
                                                        const std::string& controller,
                                                        const std::string& file,
                                                        const std::string& value) override;
  absl::StatusOr<std::string> FileOf(const std::string& cgroup, const std::string& controller,
                                     const std::string& file) const override;
  absl::StatusOr<bool> HasProcess(const std::string& cgroup, const std::string& controller,
                                  const Ignored& ignored) const override;
  absl::StatusOr<std::vector<pid_t>> ProcessesOf(const std::string& cgroup) const override;
  absl::StatusOr<bool> Holds(const std::string& cgroup, pid_t pid) const override;
  bool HasAnyProcess(const std::string& cgroup) const override;
  std::vector<pid_t> MembersOf(const std::string& cgroup) const override;
  absl::StatusOr<std::string> HomeOf(pid_t pid, const std::string& controller) const override;
  absl::StatusOr<std::string> TargetOf(pid_t pid) const override;
  absl::Status Attach(const std::string& cgroup, const std::string& controller, pid_t pid) override;
  void AttachForMetrics(const std::string& cgroup, pid_t pid) override;

  // Helpers
  absl::Status Check(const std::string& program) const override { return CheckProgram(program); }
  absl::StatusOr<std::string> Meminfo() const override;
  std::string ReportPath(const std::string& id) const override { return "/run/hold-" + id; }
  absl::StatusOr<std::unique_ptr<HelperProcess>> Start(const HelperOrder& order) override;
  std::unique_ptr<ReportPage> OpenReport(const std::string& report) override;
  absl::Status RemoveReport(const std::string& report) override;
  std::vector<pid_t> Find(const std::string& id) const override;
  bool IsHelper(pid_t pid) const override { return helpers.count(pid) == 1; }
  absl::StatusOr<std::unique_ptr<RunningHelper>> Open(pid_t pid, const std::string& id) override;

  // Programs
  absl::Status Check(const std::string& name) override { return CheckProgram(name); }
  absl::Status CheckGroup(const std::string& cgroup) override { return Exists(cgroup); }
  absl::Status CheckNamespace(const std::string& /*cgroup*/) override { return absl::OkStatus(); }
  absl::StatusOr<std::unique_ptr<Program>> Load(const ProgramSpec& spec) override;
  absl::StatusOr<std::vector<std::uint32_t>> Attached(const Hook& hook) override;
  absl::Status HoldTcx(const std::string& /*device*/) override { return Step("read"); }
  absl::Status AddSink(Traffic& traffic, int ifindex, std::uint32_t parent) override;
  absl::Status CheckLedgers() override;
  std::string LedgerPath(std::uint32_t id) override;
  std::unique_ptr<Ledger> OpenLedger(const std::string& ledger) override;
  absl::Status DropLedger(const std::string& ledger, std::uint32_t id) override;
  std::string BootId() override { return "this-boot"; }

  // Throttling
  absl::Status Check() override { return CheckProgram("throttle"); }
  absl::StatusOr<std::unique_ptr<ThrottleWatch>> Watch(const std::string& cgroup) override;

  // Network
  absl::StatusOr<std::unique_ptr<Traffic>> Open() override;

  // Blocks: vda with a partition.
  absl::StatusOr<BlockDevice> Named(const std::string& device) const override;

  mutable PassingClock clock_;
  std::uint32_t last_program_ = 0;
  pid_t last_pid_ = 1000;
};

}  // namespace faultline
