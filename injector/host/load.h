// SPDX-License-Identifier: Apache-2.0
//
// CPU time that the helper faultline-load burns inside a control group, so that the group uses so
// much altogether (helper_lever.h). One thread at a time.
#pragma once

#include <cstdint>
#include <string>

#include "injector/faults/shape.h"
#include "injector/host/cgroup.h"
#include "injector/host/helpers.h"
#include "injector/host/lever.h"

namespace faultline {

struct LoadSpec {
  std::string fault_id;
  std::string cgroup;
  // Use of the group, 1/1000 CPU.
  std::int64_t mcpus = 0;
  Shape shape;
  // Of the shape, CLOCK_BOOTTIME.
  std::int64_t start_ns = 0;
};

// Unimplemented: no hierarchy counts the CPU time of a group.
LeverOr MakeLoad(Cgroups* cgroups, Helpers* helpers, Clock* clock, const LoadSpec& spec);

}  // namespace faultline
