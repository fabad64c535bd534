// SPDX-License-Identifier: Apache-2.0
//
// A controller on a fake host and a fake clock with a journal in a folder of its own, which can
// crash at any step of the host: what it wrote until then is what the next one finds.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "injector/controller.h"
#include "tests/fake_clock.h"
#include "tests/injector/fake_host.h"

namespace faultline {

class ControllerWorld {
 public:
  ControllerWorld() : host(&clock) {
    // Memory, so that thousands of commits do not wait for a disk.
    const bool memory = std::filesystem::is_directory("/dev/shm");
    std::string name =
        (memory ? std::string("/dev/shm/") : ::testing::TempDir()) + "faultline-controller-XXXXXX";
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
    ASSERT_TRUE(journal.ok()) << journal.status();
    Controller::Options options;
    options.guard = guard;
    options.boot_id = boot_id;
    options.halt_path = (folder_ / "halted").string();
    options.run_thread = run_thread;
    auto made = Controller::Create(std::move(options), &host, &clock, std::move(*journal));
    ASSERT_TRUE(made.ok()) << made.status();
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
    host.on_step = [this](const std::string& /*step*/) -> absl::Status {
      if (!dead_ && --steps_left_ < 0) Die();
      return dead_ ? absl::UnavailableError("dead") : absl::OkStatus();
    };
  }
  bool dead() const { return dead_; }

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
    if (type == "mem.leak") (*spec.mutable_parameters())["bytes"] = "8M";
    if (type == "net.loss") (*spec.mutable_parameters())["loss"] = "10%";
    return spec;
  }

  // Makes it a host with systemd, which runs FakeUnits::kUnit. `with_controller`: cpu is on for it.
  void RunUnit(bool with_controller) {
    host.cpu_version = "v2";
    host.AddGroup(FakeUnits::kGroup);
    for (const char* group : {"/system.slice", FakeUnits::kGroup}) {
      host.values[absl::StrCat(group, " memory:memory.max")] = "max";
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
  FakeHost host;
  GuardPolicy guard;
  std::string boot_id = "this-boot";
  bool run_thread = false;
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
  bool dead_ = false;
};

}  // namespace faultline
