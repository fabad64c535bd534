// SPDX-License-Identifier: Apache-2.0
//
// What is held for a run: on each of its targets, the node's injector keeps the controllers on that
// faults need, from before the run opens to after it closes, so that no fault turns them on and off
// beside its own effect (FaultState.hold). The ids of the holds are kept with the run. Nothing here
// waits; answers come on the threads of the nodes' streams. Thread-safe, stateless.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "collector/fleet.h"
#include "faultline/v1/datasets.pb.h"

namespace faultline {

constexpr int kMaxRunTargets = 64;

// InvalidArgument: too many targets, one of nothing, or a time that is out of bounds.
absl::Status CheckTargets(const v1::StartRunRequest& request);

class RunHolds {
 public:
  using Deadline = std::chrono::system_clock::time_point;
  using Done = std::function<void(absl::StatusOr<v1::Run>)>;

  // `fleet` must outlive it and its calls.
  explicit RunHolds(const Fleet* fleet) : fleet_(fleet) {}

  // `request` as a run with a hold on each target, by id, and nodes filled in. `known`: nodes that
  // ever connected. NotFound, Unavailable, InvalidArgument: a node is not there, or must be named.
  absl::StatusOr<v1::Run> Plan(const v1::StartRunRequest& request,
                               const std::vector<std::string>& known) const;

  // Has every target held for `hold_ns` at most; 0: 24 hours. Yields `run` when all are verified.
  // If one cannot be, the others are let go again, and the error says which and why.
  void Begin(const v1::Run& run, std::int64_t hold_ns, Deadline deadline, const Done& done) const;

  // Lets go of everything that is held for `run`, and yields it with what is to be said of each
  // target (RunTarget.held and remark). For a run that is not closed: one that could not be opened.
  void End(const v1::Run& run, Deadline deadline, const Done& done) const;

 private:
  const Fleet* const fleet_;
};

}  // namespace faultline
