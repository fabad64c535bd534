// SPDX-License-Identifier: Apache-2.0
//
// The one loop: at each tick sample, add the facts about faults, hand the batch to the outbox. It
// owns nothing that talks to the network; main connects it. One thread calls Run.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <vector>

#include "agent/labels/injector_link.h"
#include "agent/labels/labels.h"
#include "agent/metrics/sampler.h"
#include "agent/ticks.h"
#include "agent/uplink/outbox.h"
#include "base/clock.h"

namespace faultline {

// What the agent asks of its surroundings; everything outlives the agent.
struct AgentParts {
  Sampler* sampler;
  Outbox* outbox;
  Clock* clock;
  // States of the node's faults; sets whether the injector answers. See InjectorLink::States.
  std::function<std::vector<v1::FaultState>(bool behind, Sight* sight)> faults;
  // Called after each batch was put into the outbox.
  std::function<void()> on_batch;
  // This node may have an injector: windows in which it does not answer are told as such.
  bool watches_injector = false;
};

class Agent {
 public:
  Agent(AgentParts parts, std::int64_t interval_ns);

  // Samples until stopped.
  void Run(const std::stop_token& stop);

 private:
  void SampleOnce(const TickSchedule::Tick& tick);
  void NoteStart(v1::Batch* batch);
  void NoteSchedule(const TickSchedule::Tick& tick, v1::Batch* batch);
  void NoteInjector(Sight sight, v1::Batch* batch);

  const AgentParts parts_;
  TickSchedule schedule_;
  Labels labels_;
  std::int64_t window_begin_ns_ = 0;
  bool started_ = false;
  // As it was last told, never late; unset until the first tick.
  std::optional<Sight> injector_;
  // Begin of the first window at whose end its answer was late; 0: it is not late.
  std::int64_t injector_late_ns_ = 0;
};

}  // namespace faultline
