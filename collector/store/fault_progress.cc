// SPDX-License-Identifier: Apache-2.0
#include "collector/store/fault_progress.h"

#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <cstdint>
#include <tuple>

#include "proto/words.h"

namespace faultline {
namespace {

int EdgesSet(const v1::Edges& edges) {
  const auto set = [](const v1::Edge& edge) { return edge.boottime_ns() != 0 ? 1 : 0; };
  return set(edges.commanded()) + set(edges.acked()) + set(edges.first_touch()) +
         set(edges.last_touch()) + set(edges.undone());
}

// Each part only ever grows during a fault's life.
auto Progress(const v1::FaultState& state) {
  const int rank = IsFinal(state.phase()) ? v1::PHASE_UNDONE : static_cast<int>(state.phase());
  std::int64_t dose = 0;
  if (state.dose_size() > 0 && !state.dose(0).gauge()) dose = state.dose(0).value();
  return std::make_tuple(rank, EdgesSet(state.edges()), state.edges().last_touch().boottime_ns(),
                         dose);
}

}  // namespace

void KeepEvidence(const v1::FaultState& known, v1::FaultState* state) {
  if (known.boot_id() != state->boot_id()) return;
  const auto keep = [](const v1::Edge& before, v1::Edge* edge) {
    if (before.boottime_ns() > edge->boottime_ns()) *edge = before;
  };
  const v1::Edges& before = known.edges();
  v1::Edges* edges = state->mutable_edges();
  if (edges->first_touch().boottime_ns() == 0) {
    keep(before.first_touch(), edges->mutable_first_touch());
  }
  keep(before.last_touch(), edges->mutable_last_touch());
  for (const v1::Dose& dose : known.dose()) {
    const auto same =
        std::find_if(state->mutable_dose()->begin(), state->mutable_dose()->end(),
                     [&](const v1::Dose& other) { return other.name() == dose.name(); });
    if (same == state->mutable_dose()->end()) {
      *state->add_dose() = dose;
    } else if (!dose.gauge() && dose.value() > same->value()) {
      *same = dose;
    }
  }
}

bool Supersedes(const v1::FaultState& state, const v1::FaultState& known) {
  const auto now = Progress(state);
  const auto before = Progress(known);
  if (now != before) return now > before;
  return !google::protobuf::util::MessageDifferencer::Equals(state, known);
}

}  // namespace faultline
