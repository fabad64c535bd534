// SPDX-License-Identifier: Apache-2.0
//
// Everything that the injector changes on a machine, as interfaces that the levers are made of:
// nothing else in injector/ touches it. real_kernel.h has this machine's, tests/injector/
// fake_kernel.h one that can fail, lose or outlive any call. What it points to outlives the levers.
#pragma once

#include "base/clock.h"
#include "injector/host/blocks.h"
#include "injector/host/cgroup.h"
#include "injector/host/helpers.h"
#include "injector/host/processes.h"
#include "injector/host/programs.h"
#include "injector/host/throttling.h"
#include "injector/host/traffic.h"

namespace faultline {

class Subtrees;
class Units;

// The network's part.
struct NetKernel {
  Network* network = nullptr;
  Programs* programs = nullptr;
  Clock* clock = nullptr;
};

struct Kernel {
  Cgroups* cgroups = nullptr;
  Subtrees* subtrees = nullptr;
  // Null: systemd is not this host's init.
  Units* units = nullptr;
  Helpers* helpers = nullptr;
  Processes* processes = nullptr;
  Throttling* throttling = nullptr;
  NetKernel net;
  Clock* clock = nullptr;
  // CPUs that are online.
  int cpus = 1;
  const Blocks* blocks = nullptr;
};

}  // namespace faultline
