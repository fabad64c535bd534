// SPDX-License-Identifier: Apache-2.0
//
// Processes of the fake machine, which end by signals. One thread at a time.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "injector/host/processes.h"

namespace faultline {

class FakeProcesses final : public Processes {
 public:
  // As FakeStep of fake_kernel.h.
  explicit FakeProcesses(std::function<absl::Status(const std::string& step)> step)
      : step_(std::move(step)) {}

  struct One {
    std::string cgroup;
    std::int64_t start_time = 0;
    // Why it must not get a signal; empty: it may.
    std::string kept = {};
    std::vector<int> signals = {};
  };
  // Those that run.
  std::map<pid_t, One> all;
  // Signals but SIGKILL that end nobody.
  std::set<int> handled;

  // A new one, with a number that nobody had.
  pid_t Add(const std::string& cgroup);

  absl::StatusOr<std::unique_ptr<Process>> Open(pid_t pid) override;
  absl::StatusOr<std::int64_t> StartTime(pid_t pid) const override;
  absl::Status CheckOrdinary(pid_t pid) const override;

 private:
  class Opened;

  bool Runs(pid_t pid, std::int64_t start_time) const;

  std::function<absl::Status(const std::string& step)> step_;
  pid_t last_ = 100;
};

}  // namespace faultline
