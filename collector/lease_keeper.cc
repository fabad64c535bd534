// SPDX-License-Identifier: Apache-2.0
#include "collector/lease_keeper.h"

#include <algorithm>

namespace faultline {

v1::CollectorMessage LeaseKeeper::Message(const Instant& now, const Heard& heard) {
  v1::CollectorMessage message;
  v1::Lease* lease = message.mutable_lease();
  lease->set_ttl_ns(kTtlNs);
  lease->set_sent_boottime_ns(now.boottime_ns);
  lease->set_heard_sent_boottime_ns(heard.sent_ns);
  lease->set_heard_read_boottime_ns(heard.read_ns);
  return message;
}

LeaseKeeper::LeaseKeeper(Store* store, Fleet* fleet, Clock* clock)
    : store_(store),
      fleet_(fleet),
      clock_(clock),
      next_ns_(clock->Now().boottime_ns + kEveryNs),
      thread_([this](const std::stop_token& stop) { Run(stop); }) {}

void LeaseKeeper::Run(const std::stop_token& stop) {
  while (clock_->WaitUntil(next_ns_, stop)) {
    next_ns_ = std::max(next_ns_ + kEveryNs, clock_->Now().boottime_ns);
    if (fleet_->Connected().empty() || waits_->exchange(true)) continue;
    store_->Probe([waits = waits_, fleet = fleet_](const absl::Status& works) {
      *waits = false;
      if (works.ok()) fleet->RenewLeases();
    });
  }
}

}  // namespace faultline
