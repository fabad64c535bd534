// SPDX-License-Identifier: Apache-2.0
//
// How long a lease of the collector still stands when it is read. A link that stalls, or that is
// slow from its first message on, delivers what is old, and a process that was stopped reads it
// late: what was long on its way is worth less, or a node would go on with its faults long after
// its collector is gone. One for each stream; one thread at a time.
#pragma once

#include <cstdint>
#include <deque>

#include "faultline/v1/telemetry.pb.h"

namespace faultline {

class LeaseAge {
 public:
  // Of `lease`, read at `read_ns`, CLOCK_BOOTTIME, what is left, ns; 0: nothing is, or it does not
  // say how old it is. Never more than there is, whatever the link does; less by what the quickest
  // of the last messages to the collector was on its way.
  std::int64_t Left(const v1::Lease& lease, std::int64_t read_ns);

 private:
  // Of the newest leases: by how much this clock is ahead of the collector's at the least, ns, as
  // the collector read something no earlier than this end sent it. The greatest is of what was
  // hardly on its way; of the newest only, as no two clocks run alike.
  std::deque<std::int64_t> ahead_;
};

}  // namespace faultline
