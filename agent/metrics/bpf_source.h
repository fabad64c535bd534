// SPDX-License-Identifier: Apache-2.0
//
// The source of everything that BPF programs count, and of what those programs cost. Owned by the
// sampler; one thread.
#pragma once

#include <memory>

#include "agent/metrics/cgroups.h"
#include "agent/metrics/source.h"

namespace faultline {

// Takes BpfField and BpfCostField. `cgroups` outlives the source; `entities_at_start` is the state
// at the call of this function only (Read gets the current one). After Start(), EntityNames of
// Table::kBpf lists "prog:NAME" and "map:NAME"; maps are those that can get full.
std::unique_ptr<Source> MakeBpfSource(const CgroupIndex& cgroups,
                                      const Entities& entities_at_start);

}  // namespace faultline
