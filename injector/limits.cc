// SPDX-License-Identifier: Apache-2.0
#include "injector/limits.h"

#include "proto/peer_text.h"

namespace faultline {

v1::Limits DescribeLimits(const GuardPolicy& policy, bool autonomous,
                          absl::Span<const v1::PeerFilter> exempt, const StopConditions& stop) {
  v1::Limits limits;
  limits.set_max_faults(policy.max_faults);
  limits.set_max_duration_ns(policy.max_duration_ns);
  limits.set_max_hour_share(policy.max_hour_share);
  for (const std::string& cgroup : policy.protected_cgroups) limits.add_protected_(cgroup);
  if (policy.protection.has_value()) {
    for (const std::string& unit : policy.protection->units()) limits.add_protected_(unit);
  }
  for (const v1::PeerFilter& peer : exempt) limits.add_exempt(PeerText(peer));
  limits.set_autonomous(autonomous);
  for (std::string& sentence : stop.Describe()) limits.add_stop_when(std::move(sentence));
  return limits;
}

}  // namespace faultline
