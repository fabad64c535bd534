// SPDX-License-Identifier: Apache-2.0
#include "agent/uplink/lease_age.h"

#include <algorithm>

namespace faultline {
namespace {

// Five minutes of leases, in which two bad clocks drift by some 50 ms.
constexpr std::size_t kKept = 100;

}  // namespace

std::int64_t LeaseAge::Left(const v1::Lease& lease, std::int64_t read_ns) {
  if (lease.heard_sent_boottime_ns() == 0) return 0;
  const std::int64_t ahead_ns = lease.heard_sent_boottime_ns() - lease.heard_read_boottime_ns();
  ahead_.push_back(ahead_ns);
  if (ahead_.size() > kKept) ahead_.pop_front();
  // On this clock, or before.
  std::int64_t sent_ns = lease.sent_boottime_ns() + *std::max_element(ahead_.begin(), ahead_.end());
  // Nothing comes from the future: this clock stood still meanwhile, as that of a machine that is
  // saved and restored does, and what it was ahead by before says nothing any more.
  if (sent_ns > read_ns) {
    ahead_.assign(1, ahead_ns);
    sent_ns = std::min(read_ns, lease.sent_boottime_ns() + ahead_ns);
  }
  return std::max<std::int64_t>(0, lease.ttl_ns() - (read_ns - sent_ns));
}

}  // namespace faultline
