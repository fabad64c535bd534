// SPDX-License-Identifier: Apache-2.0
//
// A controller on a fake machine and a fake clock with a journal in a folder of its own, which can
// crash at any step of the host: what it wrote until then is what the next one finds.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/log.h"
#include "injector/controller.h"
#include "injector/host/host.h"
#include "tests/fake_clock.h"
#include "tests/injector/fake_kernel.h"

namespace faultline {

// From a step at which a test has the process die, or a call fail, to the next. The release build
// takes each of them, and `./run test` runs that (the tests with EveryStep in their names); the
// sanitizers, by which each takes five times as long, see a fifth.
#ifdef __SANITIZE_ADDRESS__
inline constexpr int kNextStep = 5;
#else
inline constexpr int kNextStep = 1;
#endif

class ControllerWorld {
 public:
  ControllerWorld() : host(&clock), levers({}, host.Get()) {
    // Memory, so that thousands of commits do not wait for a disk.
    const bool memory = std::filesystem::is_directory("/dev/shm");
    std::string name = std::string(memory ? "/dev/shm" : "/tmp") + "/faultline-controller-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    folder_ = name;
    guard.max_duration_ns = 3600 * kNsPerSecond;
    Boot();
  }
  ~ControllerWorld() {
    controller.reset();
    std::filesystem::remove_all(folder_);
  }
  ControllerWorld(const ControllerWorld&) = delete;
  ControllerWorld& operator=(const ControllerWorld&) = delete;

  // Starts a controller on the current journal.
  void Boot() {
    absl::StatusOr<std::unique_ptr<Journal>> journal = Journal::Open(JournalPath());
    if (!journal.ok()) Bug(absl::StrCat("no journal: ", journal.status().message()));
    Controller::Options options;
    options.guard = guard;
    options.boot_id = boot_id;
    options.halt_path = (folder_ / "halted").string();
    options.collector_path = (folder_ / "collector").string();
    options.run_thread = run_thread;
    options.exempt = exempt;
    options.autonomous = autonomous;
    options.stop = stop;
    options.readings = readings;
    auto made = Controller::Create(std::move(options), &levers, &clock, std::move(*journal));
    if (!made.ok()) Bug(absl::StrCat("no controller: ", made.status().message()));
    controller = std::move(*made);
  }

  std::string JournalPath() const {
    return (folder_ / absl::StrCat("journal-", generation_, ".db")).string();
  }

  // The process is gone now, without a word.
  void Crash() {
    if (!dead_) Die();
    controller.reset();
    host.on_step = nullptr;
    host.ProcessDied();
    dead_ = false;
  }

  // After a crash: the next one finds an empty journal.
  void Forget() { ++generation_; }

  // It will be gone when the host reaches its `steps`th step from now: nothing that it does or
  // writes afterwards counts.
  void DieAtStep(int steps) {
    steps_left_ = steps;
    host.on_step = [this](const std::string& step) -> absl::Status {
      if (!dead_) last_step_ = step;
      if (!dead_ && --steps_left_ < 0) Die();
      return dead_ ? absl::UnavailableError("dead") : absl::OkStatus();
    };
  }
  bool dead() const { return dead_; }
  // Where it died.
  const std::string& last_step() const { return last_step_; }

  // Time passes and what is due is done.
  void Pass(std::int64_t ns) {
    const std::int64_t end_ns = clock.Now().boottime_ns + ns;
    while (true) {
      const std::int64_t now_ns = clock.Now().boottime_ns;
      const std::int64_t next = std::max(controller->NextDue(), now_ns);
      if (next > end_ns) {
        clock.Advance(end_ns - now_ns);
        return;
      }
      clock.Advance(next - now_ns);
      controller->RunDue();
      // A deadline that stays due would spin.
      if (controller->NextDue() <= clock.Now().boottime_ns) clock.Advance(1);
    }
  }

  static v1::FaultSpec Spec(const std::string& type, const std::string& id,
                            const std::string& cgroup = "/web") {
    v1::FaultSpec spec;
    spec.set_id(id);
    spec.set_type(type);
    spec.mutable_target()->set_cgroup(cgroup);
    spec.set_duration_ns(10 * kNsPerSecond);
    if (type == "cpu.limit") (*spec.mutable_parameters())["cpus"] = "0.5";
    if (type == "cpu.load") (*spec.mutable_parameters())["cpus"] = "0.5";
    if (type == "mem.leak") (*spec.mutable_parameters())["bytes"] = "8M";
    if (type == "mem.limit") (*spec.mutable_parameters())["bytes"] = "512K";
    if (type == "io.limit") {
      (*spec.mutable_parameters())["device"] = "vda";
      (*spec.mutable_parameters())["read"] = "1M";
      (*spec.mutable_parameters())["write_ops"] = "100";
    }
    if (type == "net.loss") (*spec.mutable_parameters())["loss"] = "10%";
    if (type == "net.rate") {
      (*spec.mutable_parameters())["rate"] = "1mbit";
      (*spec.mutable_parameters())["device"] = "eth0";
    }
    if (type == "net.delay") {
      (*spec.mutable_parameters())["delay"] = "50ms";
      (*spec.mutable_parameters())["device"] = "eth0";
    }
    return spec;
  }

  // A sham by `mechanism`.
  static v1::FaultSpec Sham(const std::string& mechanism, const std::string& id,
                            const std::string& cgroup = "/web") {
    v1::FaultSpec spec = Spec("sham", id, cgroup);
    (*spec.mutable_parameters())["mechanism"] = mechanism;
    if (mechanism == "plane") (*spec.mutable_parameters())["device"] = "eth0";
    return spec;
  }

  // Makes it a host with systemd, which runs FakeUnits::kUnit. `with_controller`: cpu is on for it.
  void RunUnit(bool with_controller) {
    host.cpu_version = "v2";
    host.AddGroup(FakeUnits::kGroup);
    for (const char* group : {"/system.slice", FakeUnits::kGroup}) {
      host.values[absl::StrCat(group, " memory:memory.max")] = "max";
      host.values[absl::StrCat(group, " memory:memory.high")] = "max";
      host.values[absl::StrCat(group, " memory:memory.current")] = "1000000";
    }
    host.units.Start(with_controller);
  }

  // A fault on that unit.
  static v1::FaultSpec UnitSpec(const std::string& type, const std::string& cpus = "0.5") {
    v1::FaultSpec spec = Spec(type, "a");
    spec.mutable_target()->set_unit(FakeUnits::kUnit);
    if (type == "cpu.limit") (*spec.mutable_parameters())["cpus"] = cpus;
    return spec;
  }

  // As List shows it; PHASE_UNSPECIFIED if it is unknown.
  v1::FaultState Find(const std::string& id) const {
    const v1::ListResponse list = controller->List(false);
    for (const v1::FaultState& state : list.faults()) {
      if (state.spec().id() == id) return state;
    }
    return {};
  }

  FakeClock clock;
  FakeKernel host;
  Host levers;
  GuardPolicy guard;
  std::string boot_id = "this-boot";
  bool run_thread = false;
  // Of what starts at the next Boot.
  std::vector<v1::PeerFilter> exempt;
  bool autonomous = false;
  StopLimits stop;
  HostReadings* readings = nullptr;
  std::unique_ptr<Controller> controller;

 private:
  // What is on disk now is what the next process finds.
  void Die() {
    dead_ = true;
    const std::string from = JournalPath();
    ++generation_;
    for (const char* tail : {"", "-wal"}) {
      if (std::filesystem::exists(from + tail)) {
        std::filesystem::copy_file(from + tail, JournalPath() + tail);
      }
    }
  }

  std::filesystem::path folder_;
  int generation_ = 0;
  int steps_left_ = 0;
  std::string last_step_;
  bool dead_ = false;
};

}  // namespace faultline
