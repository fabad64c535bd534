// SPDX-License-Identifier: Apache-2.0
//
// This machine's network behind NetKernel: of the network namespace of whichever thread asks. One
// thread at a time.
#pragma once

#include <string>

#include "base/clock.h"
#include "injector/host/kernel.h"
#include "injector/host/kernel_programs.h"
#include "injector/host/netlink.h"

namespace faultline {

class RealNet {
 public:
  // `bpffs`: where BPF programs' counts outlive this process; no bpffs: they do not.
  explicit RealNet(const std::string& bpffs = "/sys/fs/bpf", Clock* clock = &Clock::System())
      : programs_(bpffs), clock_(clock) {}

  // Points into this object.
  NetKernel Get() { return {&network_, &programs_, clock_}; }

 private:
  NetlinkNetwork network_;
  KernelPrograms programs_;
  Clock* const clock_;
};

}  // namespace faultline
