// SPDX-License-Identifier: Apache-2.0
//
// The part of Netlink that makes and reads a netem leaf.
#include <linux/pkt_sched.h>
#include <netlink/msg.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>

#include "absl/strings/str_cat.h"
#include "injector/host/netlink.h"
#include "injector/host/netlink_message.h"

namespace faultline {
namespace {

// 100 Gbit/s in bytes. No packet waits for it; but a netem with a rate sends each packet behind the
// tail of its queue (net/sched/sch_netem.c, netem_enqueue), so that neither jitter nor a shorter
// delay lets one overtake another.
constexpr std::uint64_t kOrderingRate = 12'500'000'000;

// The kernel's scheduler tick, 64 ns (PSCHED_SHIFT): the resolution of the fields of old, which
// the attributes in ns replace (4.15).
std::uint32_t Ticks(std::int64_t ns) {
  constexpr std::int64_t kTickNs = 64;
  constexpr std::int64_t kMost = std::numeric_limits<std::uint32_t>::max();
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(ns / kTickNs, 0, kMost));
}

void PutNanoseconds(nl_msg* message, int attribute, std::int64_t ns) {
  nla_put(message, attribute, sizeof(ns), &ns);
}

// The options are a struct of old, followed by attributes.
std::optional<Netem> ParseNetem(nlattr* options) {
  tc_netem_qopt parameters{};
  if (nla_len(options) < static_cast<int>(sizeof(parameters))) return std::nullopt;
  std::memcpy(&parameters, nla_data(options), sizeof(parameters));
  auto* first = reinterpret_cast<nlattr*>(static_cast<char*>(nla_data(options)) +
                                          NLA_ALIGN(sizeof(parameters)));
  const int length = nla_len(options) - static_cast<int>(NLA_ALIGN(sizeof(parameters)));
  nlattr* attributes[TCA_NETEM_MAX + 1];
  if (nla_parse(attributes, TCA_NETEM_MAX, first, length, nullptr) < 0) return std::nullopt;
  const auto ns = [&attributes](int attribute, std::uint32_t ticks) {
    constexpr std::int64_t kTickNs = 64;
    std::int64_t value = ticks * kTickNs;
    if (attributes[attribute] != nullptr &&
        nla_len(attributes[attribute]) == static_cast<int>(sizeof(value))) {
      std::memcpy(&value, nla_data(attributes[attribute]), sizeof(value));
    }
    return value;
  };
  return Netem{ns(TCA_NETEM_LATENCY64, parameters.latency),
               ns(TCA_NETEM_JITTER64, parameters.jitter), parameters.limit};
}

}  // namespace

absl::Status Netlink::SetNetem(int ifindex, std::uint32_t parent_class, const Netem& netem,
                               bool create) {
  // With both flags a leaf of another kind is replaced and a netem changed; with neither only the
  // latter (net/sched/sch_api.c, tc_modify_qdisc).
  const Message message = TrafficMessage(RTM_NEWQDISC, create ? NLM_F_CREATE | NLM_F_REPLACE : 0,
                                         ifindex, parent_class, 0);
  PutString(message.get(), TCA_KIND, "netem");
  nlattr* options = nla_nest_start(message.get(), TCA_OPTIONS);
  tc_netem_qopt parameters{};
  parameters.latency = Ticks(netem.delay_ns);
  parameters.jitter = Ticks(netem.jitter_ns);
  parameters.limit = netem.limit;
  nlmsg_append(message.get(), &parameters, sizeof(parameters), NLA_ALIGNTO);
  PutNanoseconds(message.get(), TCA_NETEM_LATENCY64, netem.delay_ns);
  PutNanoseconds(message.get(), TCA_NETEM_JITTER64, netem.jitter_ns);
  tc_netem_rate rate{};
  rate.rate = std::numeric_limits<std::uint32_t>::max();
  nla_put_u64(message.get(), TCA_NETEM_RATE64, kOrderingRate);
  nla_put(message.get(), TCA_NETEM_RATE, sizeof(rate), &rate);
  nla_nest_end(message.get(), options);
  return Exchange(message.get(), absl::StrCat("set netem of class ", ClassName(parent_class)));
}

absl::StatusOr<Netem> Netlink::GetNetem(int ifindex, std::uint32_t parent_class) {
  const Message message = TrafficMessage(RTM_GETQDISC, NLM_F_DUMP, ifindex, 0, 0);
  std::optional<Netem> found;
  absl::Status status = Exchange(message.get(), "list qdiscs", [&](nlmsghdr* header) {
    const auto* body = static_cast<const tcmsg*>(nlmsg_data(header));
    if (body->tcm_ifindex != ifindex || body->tcm_parent != parent_class) return;
    nlattr* kind = nlmsg_find_attr(header, sizeof(tcmsg), TCA_KIND);
    nlattr* options = nlmsg_find_attr(header, sizeof(tcmsg), TCA_OPTIONS);
    const bool netem = kind != nullptr && std::strcmp(nla_get_string(kind), "netem") == 0;
    if (netem && options != nullptr) found = ParseNetem(options);
  });
  if (!status.ok()) return status;
  if (found) return *found;
  return absl::NotFoundError(
      absl::StrCat("class ", ClassName(parent_class), " has no queue that delays"));
}

}  // namespace faultline
