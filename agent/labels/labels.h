// SPDX-License-Identifier: Apache-2.0
//
// Fault state and dose onto each frame: facts, in the node's own clock, written beside the samples
// that they belong to. Labels are not made here; the collector derives them from these facts.
// Owned by the agent's loop; one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

#include "absl/types/span.h"
#include "faultline/v1/telemetry.pb.h"

namespace faultline {

// True if `state` was acked and not undone in some part of [begin, end], CLOCK_BOOTTIME ns.
bool ActiveIn(const v1::FaultState& state, std::int64_t begin_ns, std::int64_t end_ns);

class Labels {
 public:
  // `schema` as the sampler made it; its table "fault" is filled here.
  explicit Labels(const v1::Schema& schema);

  // Appends the table "fault" and the active ids to `frame`, whose window is set; entities and
  // every state that is new or changed to `batch`. `states`: all that the injector told; a fault
  // that is not among them is forgotten. `seen`: it answers now; if not, what a fault does is
  // unknown and its dose null, in the window after, too: only the total says what came in both.
  void Fill(absl::Span<const v1::FaultState> states, bool seen, v1::Frame* frame, v1::Batch* batch);

  // Faults that are remembered from one window to the next.
  size_t known() const { return known_.size(); }

 private:
  struct Known {
    std::uint64_t entity = 0;
    std::int64_t dose = 0;
    // `dose` was seen at the end of the window before.
    bool counted = false;
    // Serialised state as it was last put into a batch.
    std::string told;
  };

  // Forgets every fault that is not in `states` or ended long before `begin_ns`.
  void Forget(absl::Span<const v1::FaultState> states, std::int64_t begin_ns);
  // The row of a fault that is active in the window.
  void AddRow(const v1::FaultState& state, bool seen, std::int64_t begin_ns, Known* known,
              v1::TableFrame* table);

  int table_ = -1;
  int active_column_ = -1;
  int dose_column_ = -1;
  int total_column_ = -1;
  int columns_ = 0;
  std::uint64_t next_entity_;
  std::map<std::string, Known> known_;
};

}  // namespace faultline
