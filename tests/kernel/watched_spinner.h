// SPDX-License-Identifier: Apache-2.0
//
// A process of a group that wants a CPU all the time, and a stand-in beside it that has what the
// group may not have: when the process was held back, whatever else takes the CPU. Gone with this,
// and with them whatever else is in the group. Owned by one thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "tests/kernel/test_cgroup.h"
#include "tests/witness/now.h"
#include "tests/witness/stalls.h"

namespace faultline {

class WatchedSpinner {
 public:
  // Shorter stalls than `shortest_ns` are not noted. Returns when both run.
  static absl::StatusOr<std::unique_ptr<WatchedSpinner>> Start(TestCgroup* group,
                                                               std::int64_t shortest_ns) {
    auto spinner = std::unique_ptr<WatchedSpinner>(new WatchedSpinner(group, shortest_ns));
    absl::StatusOr<std::unique_ptr<TestCgroup>> last = TestCgroup::Create("last");
    if (!last.ok()) return last.status();
    spinner->last_ = *std::move(last);
    // Below the weight that any other group may have.
    if (absl::Status status = spinner->last_->Write("cpu", "cpu.idle", "1"); !status.ok()) {
      return status;
    }
    const int cpu = witness::WitnessCpu();
    const auto stand_in =
        spinner->last_->Spawn([made = spinner.get(), cpu] { return made->stand_in_.Spin(cpu); });
    if (!stand_in.ok()) return stand_in.status();
    while (!spinner->stand_in_.running()) witness::SleepForMs(1);
    const auto watched =
        group->Spawn([made = spinner.get(), cpu] { return made->stalls_.Spin(cpu); });
    if (!watched.ok()) return watched.status();
    spinner->pid_ = *watched;
    while (!spinner->stalls_.running()) witness::SleepForMs(1);
    return spinner;
  }

  // The process first: beside it the stand-in would wait a minute for the CPU that it dies on.
  ~WatchedSpinner() { group_->Empty(); }
  WatchedSpinner(const WatchedSpinner&) = delete;
  WatchedSpinner& operator=(const WatchedSpinner&) = delete;

  pid_t pid() const { return pid_; }
  // Those that ended after `since_ns`, with what nobody knows of them.
  std::vector<witness::Stall> Since(std::int64_t since_ns) const {
    return stand_in_.Beside(stalls_.Since(since_ns));
  }

 private:
  WatchedSpinner(TestCgroup* group, std::int64_t shortest_ns)
      : group_(group), stalls_(shortest_ns) {}

  TestCgroup* const group_;
  witness::Stalls stalls_;
  witness::StandIn stand_in_;
  std::unique_ptr<TestCgroup> last_;
  pid_t pid_ = 0;
};

}  // namespace faultline
