// SPDX-License-Identifier: Apache-2.0
//
// Which of two states of one fault is the newer. The same state comes twice (told at once, then
// durably in a batch) and batches are resent, so order of arrival says nothing. Stateless.
#pragma once

#include "faultline/v1/faults.pb.h"

namespace faultline {

// True if `state` is later in the fault's life than `known`, or as late with other content.
bool Supersedes(const v1::FaultState& state, const v1::FaultState& known);

// Adds to `state` what `known`, an earlier one of the same fault, had seen and it lacks: touches
// and dose. An injector that was killed knows less afterwards than it had told before.
void KeepEvidence(const v1::FaultState& known, v1::FaultState* state);

}  // namespace faultline
